/* cmd_info.c - graft info. */
#include "cli/commands.h"

gf_status gf_cmd_info(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft info` is not in this build yet");
}
