/* cmd_plan.c - graft plan. */
#include "cli/commands.h"

gf_status gf_cmd_plan(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft plan` is not in this build yet");
}
