/* cmd_generate.c - graft generate. */
#include "cli/commands.h"

gf_status gf_cmd_generate(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft generate` is not in this build yet");
}
