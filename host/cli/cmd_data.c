/* cmd_data.c - graft data. */
#include "cli/commands.h"

gf_status gf_cmd_data(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft data` is not in this build yet");
}
