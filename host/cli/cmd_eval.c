/* cmd_eval.c - graft eval. */
#include "cli/commands.h"

gf_status gf_cmd_eval(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft eval` is not in this build yet");
}
