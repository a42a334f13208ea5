/* cmd_tokenize.c - graft tokenize. */
#include "cli/commands.h"

gf_status gf_cmd_tokenize(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft tokenize` is not in this build yet");
}
