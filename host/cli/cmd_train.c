/* cmd_train.c - graft train. */
#include "cli/commands.h"

gf_status gf_cmd_train(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft train` is not in this build yet");
}
