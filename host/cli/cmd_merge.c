/* cmd_merge.c - graft merge. */
#include "cli/commands.h"

gf_status gf_cmd_merge(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft merge` is not in this build yet");
}
