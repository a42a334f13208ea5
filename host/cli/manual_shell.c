/* manual_shell.c - what a shell offers behind `graft`, from the option table. */
#include <string.h>

#include "cli/manual.h"
#include "cli/option_table.h"

/* The choices of an option that are in this version, each behind `before`. */
static gf_status choices(gf_buf *out, const gf_option *p, const char *before, gf_err *err)
{
    char name[64];
    bool here;
    for (int n = 0; gf_option_choice_at(p->range, n, name, &here); n++)
        if (here)
            TRY(gf_buf_printf(out, err, "%s%s", before, name));
    return GF_OK;
}

static bool takes_path(const gf_option *p)
{
    return p->kind == GF_OPT_PATH || p->kind == GF_OPT_LIST || p->kind == GF_OPT_RESUME;
}

static bool offered(const gf_option *p, int command)
{
    return (p->commands & 1u << command) && !(p->notes & GF_OPT_LATER);
}

/* ---- bash ----------------------------------------------------------------------------------- */

/* A case for each option whose value is a choice; those that take a path share one. */
static gf_status bash_values(gf_buf *out, gf_err *err)
{
    const gf_option *p;
    bool any = false;
    for (int i = 0; (p = gf_option_at(i)); i++) {
        if (p->kind != GF_OPT_CHOICE || (p->notes & GF_OPT_LATER))
            continue;
        TRY(gf_buf_printf(out, err, "    %s) words=\"", gf_option_written(p->name).text));
        TRY(choices(out, p, " ", err));
        TRY(gf_buf_str(out, "\" ;;\n", err));
    }
    for (int i = 0; (p = gf_option_at(i)); i++) {
        if (!takes_path(p))
            continue;
        TRY(gf_buf_printf(out, err, "%s%s", any ? "|" : "    ", gf_option_written(p->name).text));
        any = true;
    }
    return gf_buf_str(
        out, ") compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n", err);
}

static gf_status bash_options(gf_buf *out, gf_err *err)
{
    const gf_option *p;
    for (int c = 0; c < GF_COMMANDS; c++) {
        if (!gf_command_is_here((gf_command)c))
            continue;
        TRY(gf_buf_printf(out, err, "    %s) words=\"--help", gf_command_name((gf_command)c)));
        for (int i = 0; (p = gf_option_at(i)); i++)
            if (offered(p, c))
                TRY(gf_buf_printf(out, err, " %s", gf_option_written(p->name).text));
        TRY(gf_buf_str(out, "\" ;;\n", err));
    }
    return GF_OK;
}

static gf_status command_words(gf_buf *out, gf_err *err)
{
    for (int c = 0; c < GF_COMMANDS; c++)
        if (gf_command_is_here((gf_command)c))
            TRY(gf_buf_printf(out, err, " %s", gf_command_name((gf_command)c)));
    return GF_OK;
}

gf_status gf_completion_bash(gf_buf *out, gf_err *err)
{
    TRY(gf_buf_str(out,
                   "# bash completion for graft: source it, or put it where bash looks for them\n"
                   "_graft() {\n"
                   "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
                   "words=\n"
                   "    COMPREPLY=()\n"
                   "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
                   "        words=\"--help --version",
                   err));
    TRY(command_words(out, err));
    TRY(gf_buf_str(out,
                   "\"\n        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                   "        return\n    fi\n"
                   "    case \"${before//_/-}\" in\n",
                   err));
    TRY(bash_values(out, err));
    TRY(gf_buf_str(out, "    *) case \"${COMP_WORDS[1]}\" in\n", err));
    TRY(bash_options(out, err));
    return gf_buf_str(out,
                      "    esac ;;\n    esac\n"
                      "    case \"$word\" in\n"
                      "    -*) ;;\n"
                      "    *) [ \"$words\" ] && case \"$words\" in\n"
                      "        --*) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\")); "
                      "return ;;\n        esac ;;\n"
                      "    esac\n"
                      "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                      "}\ncomplete -F _graft graft\n",
                      err);
}

/* ---- zsh ------------------------------------------------------------------------------------ */

/* Help inside '...[...]': a quote ends the word, a bracket or a colon its part. */
static gf_status zsh_text(gf_buf *out, const char *text, gf_err *err)
{
    for (; *text; text++) {
        if (*text == '\'')
            TRY(gf_buf_str(out, "'\\''", err));
        else if (strchr("[]:\\", *text))
            TRY(gf_buf_printf(out, err, "\\%c", *text));
        else
            TRY(gf_buf_add(out, text, 1, err));
    }
    return GF_OK;
}

static gf_status zsh_option(gf_buf *out, const gf_option *p, gf_err *err)
{
    TRY(gf_buf_printf(out, err, "        '%s%s[", p->kind == GF_OPT_LIST ? "*" : "",
                      gf_option_written(p->name).text));
    TRY(zsh_text(out, p->help, err));
    TRY(gf_buf_str(out, "]", err));
    if (p->kind == GF_OPT_CHOICE) {
        TRY(gf_buf_str(out, ":choice:(", err));
        TRY(choices(out, p, " ", err));
        TRY(gf_buf_str(out, ")", err));
    } else if (takes_path(p)) {
        TRY(gf_buf_printf(out, err, "%s:path:_files", p->kind == GF_OPT_RESUME ? ":" : ""));
    } else if (p->kind != GF_OPT_FLAG) {
        TRY(gf_buf_str(out, ":value: ", err));
    }
    return gf_buf_str(out, "' \\\n", err);
}

gf_status gf_completion_zsh(gf_buf *out, gf_err *err)
{
    const gf_option *p;
    TRY(gf_buf_str(out,
                   "#compdef graft\n_graft() {\n    local -a commands\n    if (( CURRENT == 2 )); "
                   "then\n        commands=(\n",
                   err));
    for (int c = 0; c < GF_COMMANDS; c++) {
        if (!gf_command_is_here((gf_command)c))
            continue;
        TRY(gf_buf_printf(out, err, "            '%s:", gf_command_name((gf_command)c)));
        TRY(zsh_text(out, gf_command_help((gf_command)c), err));
        TRY(gf_buf_str(out, "'\n", err));
    }
    TRY(gf_buf_str(out,
                   "        )\n        _describe command commands\n        return\n    fi\n"
                   "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
                   "    case $command in\n",
                   err));
    for (int c = 0; c < GF_COMMANDS; c++) {
        if (!gf_command_is_here((gf_command)c))
            continue;
        TRY(gf_buf_printf(out, err, "    %s) _arguments \\\n", gf_command_name((gf_command)c)));
        for (int i = 0; (p = gf_option_at(i)); i++)
            if (offered(p, c))
                TRY(zsh_option(out, p, err));
        TRY(gf_buf_str(out, "        '--help[help]' '*:path:_files' ;;\n", err));
    }
    return gf_buf_str(out, "    esac\n}\n_graft \"$@\"\n", err);
}
