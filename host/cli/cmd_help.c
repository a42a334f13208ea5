/* cmd_help.c - `graft help`: the option table told to people, to man and to shells. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/manual.h"
#include "cli/option_table.h"

static gf_status write_text(gf_buf *out, gf_command topic, gf_err *err)
{
    const gf_options about = {.command = topic == GF_COMMANDS ? GF_CMD_help : topic,
                              .no_command = topic == GF_COMMANDS};
    return gf_options_help(&about, out, err);
}

gf_status gf_cmd_help(const gf_options *o, gf_err *err)
{
    gf_buf out = {0};
    gf_status st = GF_OK;
    const gf_command topic = o->topic ? gf_command_find(o->topic) : GF_COMMANDS;
    if (o->topic && topic == GF_COMMANDS)
        return gf_fail(err, GF_EARG, "unknown command \"%.80s\"; the nearest is %s", o->topic,
                       gf_command_name(gf_command_nearest(o->topic)));
    switch ((gf_opt_help)o->as) {
    case GF_HELP_TEXT:
        st = write_text(&out, topic, err);
        break;
    case GF_HELP_MAN:
        st = gf_manual_page(&out, topic, err);
        break;
    case GF_HELP_MARKDOWN:
        st = gf_manual_chapter(&out, topic, err);
        break;
    case GF_HELP_BASH:
        st = gf_completion_bash(&out, err);
        break;
    case GF_HELP_ZSH:
        st = gf_completion_zsh(&out, err);
        break;
    }
    if (st == GF_OK)
        fputs(out.data, stdout);
    gf_buf_free(&out);
    return st;
}
