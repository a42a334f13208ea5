/* manual.c - man pages and the reference of options, from the option table. */
#include "cli/manual.h"

#include <stdio.h>
#include <string.h>

#include "cli/option_table.h"

/* ---- man pages ------------------------------------------------------------------------------ */

/* Text where roff sees no command: a dash is a minus that can be copied, a backslash and a leading
 * dot are themselves. */
static gf_status roff(gf_buf *out, const char *text, gf_err *err)
{
    if (*text == '.' || *text == '\'')
        TRY(gf_buf_str(out, "\\&", err));
    for (; *text; text++) {
        if (*text == '-')
            TRY(gf_buf_str(out, "\\-", err));
        else if (*text == '\\')
            TRY(gf_buf_str(out, "\\e", err));
        else if (*text == '|') /* a line may end between two choices */
            TRY(gf_buf_str(out, "|\\:", err));
        else
            TRY(gf_buf_add(out, text, 1, err));
    }
    return GF_OK;
}

static gf_status roff_option(gf_buf *out, const gf_option *p, gf_command c, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_str(out, ".TP\n\\fB", err));
    TRYG(roff(out, gf_option_written(p->name).text, err));
    TRYG(gf_buf_printf(out, err, "\\fR \\fI%s\\fR\n", gf_option_placeholder(p)));
    TRYG(gf_option_explain(&text, p, c, err));
    TRYG(roff(out, text.data, err));
    TRYG(gf_buf_str(out, ".\n", err));
out:
    gf_buf_free(&text);
    return st;
}

static gf_status roff_head(gf_buf *out, const char *name, const char *upper, const char *help,
                           gf_err *err)
{
    TRY(gf_buf_printf(out, err, ".TH %s 1 \"\" \"graft %s\" \"User Commands\"\n.ad l\n.SH NAME\n",
                      upper, GRAFT_VERSION));
    TRY(roff(out, name, err));
    TRY(gf_buf_str(out, " \\- ", err));
    TRY(roff(out, help, err));
    return gf_buf_str(out, "\n.SH SYNOPSIS\n", err);
}

static const char exit_status[] =
    ".SH EXIT STATUS\n0 done; 1 the work failed; 2 wrong usage or wrong input; 3 interrupted, with "
    "a checkpoint saved. What failed is one line on standard error.\n";

static gf_status page_of_all(gf_buf *out, gf_err *err)
{
    TRY(roff_head(out, "graft", "GRAFT", "LoRA fine-tuning of language models", err));
    TRY(gf_buf_str(
        out, ".B graft\n.I COMMAND\n.RI [ \\-\\-option \\ VALUE \" ...]\"\n.SH COMMANDS\n", err));
    for (int c = 0; c < GF_COMMANDS; c++) {
        if (!gf_command_is_here((gf_command)c))
            continue;
        TRY(gf_buf_printf(out, err, ".TP\n\\fBgraft\\-%s\\fR(1)\n",
                          gf_command_name((gf_command)c)));
        TRY(roff(out, gf_command_help((gf_command)c), err));
        TRY(gf_buf_str(out, "\n", err));
    }
    return gf_buf_str(out, exit_status, err);
}

gf_status gf_manual_page(gf_buf *out, gf_command c, gf_err *err)
{
    if (c == GF_COMMANDS)
        return page_of_all(out, err);
    char name[32], upper[32];
    const int n = snprintf(name, sizeof name, "graft-%s", gf_command_name(c));
    for (int i = 0; i <= n; i++)
        upper[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    TRY(roff_head(out, name, upper, gf_command_help(c), err));
    TRY(gf_buf_printf(out, err, ".B graft %s\n.RI [ \\-\\-option \\ VALUE \" ...]\"\n.SH OPTIONS\n",
                      gf_command_name(c)));
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++)
        if (p->commands & 1u << c)
            TRY(roff_option(out, p, c, err));
    TRY(gf_buf_str(out, exit_status, err));
    return gf_buf_str(out, ".SH SEE ALSO\n.BR graft (1)\n", err);
}

/* ---- the reference of options --------------------------------------------------------------- */

/* Text in a cell of a table: a bar would end it, a bracket or a star could be markup. */
static gf_status cell(gf_buf *out, const char *text, gf_err *err)
{
    for (; *text; text++) {
        if (strchr("|*[]<>", *text))
            TRY(gf_buf_str(out, "\\", err));
        TRY(gf_buf_add(out, text, 1, err));
    }
    return GF_OK;
}

static gf_status row(gf_buf *out, const gf_option *p, gf_command c, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    const char *value = gf_option_placeholder(p);
    TRYG(gf_buf_printf(out, err, "| `%s%s%s` | ", gf_option_written(p->name).text,
                       *value ? " " : "", value));
    TRYG(gf_option_explain(&text, p, c, err));
    TRYG(cell(out, text.data, err));
    TRYG(gf_buf_str(out, " |\n", err));
out:
    gf_buf_free(&text);
    return st;
}

gf_status gf_manual_chapter(gf_buf *out, gf_command c, gf_err *err)
{
    if (c == GF_COMMANDS) {
        for (int each = 0; each < GF_COMMANDS; each++)
            if (gf_command_is_here((gf_command)each))
                TRY(gf_manual_chapter(out, (gf_command)each, err));
        return GF_OK;
    }
    TRY(gf_buf_printf(out, err, "%s## graft %s\n\n%s\n\n| option | meaning |\n| --- | --- |\n",
                      out->len ? "\n" : "", gf_command_name(c), gf_command_help(c)));
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++)
        if (p->commands & 1u << c)
            TRY(row(out, p, c, err));
    return GF_OK;
}
