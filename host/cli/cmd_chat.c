/* cmd_chat.c - graft chat. */
#include "cli/commands.h"

gf_status gf_cmd_chat(const gf_options *o, gf_err *err)
{
    (void)o;
    return gf_fail(err, GF_EMISSING, "`graft chat` is not in this build yet");
}
