/* usage.c - the option table told to people (--help) and to files (run.json).
 * Contract: options.h. */
#include "cli/option_table.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum { WIDTH = 98, INDENT = 34 }; /* columns of a line, and where its explanation begins */

/* Appends `text` broken at spaces; `at` is the column where it starts. */
static gf_status wrapped(gf_buf *out, const char *text, int at, gf_err *err)
{
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (at > INDENT && at + 1 + n > WIDTH) {
            TRY(gf_buf_printf(out, err, "\n%*s", INDENT, ""));
            at = INDENT;
        } else if (at > INDENT) {
            TRY(gf_buf_str(out, " ", err));
            at++;
        }
        TRY(gf_buf_add(out, text, (size_t)n, err));
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    return GF_OK;
}

const char *gf_option_placeholder(const gf_option *p)
{
    switch (p->kind) {
    case GF_OPT_PATH:
    case GF_OPT_LIST:
        return "PATH";
    case GF_OPT_TEXT:
        return "TEXT";
    case GF_OPT_INT:
        return "N";
    case GF_OPT_REAL:
        return "X";
    case GF_OPT_SIZE:
        return "BYTES";
    case GF_OPT_CHOICE:
        return "CHOICE";
    case GF_OPT_RESUME:
        return "[CHECKPOINT]";
    case GF_OPT_FLAG:
        return "";
    }
    return "";
}

static gf_status describe_choices(gf_buf *text, const gf_option *p, gf_err *err)
{
    char name[64];
    bool here;
    TRY(gf_buf_str(text, ": ", err));
    for (int n = 0, shown = 0; gf_option_choice_at(p->range, n, name, &here); n++)
        if (here)
            TRY(gf_buf_printf(text, err, "%s%s", shown++ ? "|" : "", name));
    return GF_OK;
}

gf_status gf_option_explain(gf_buf *text, const gf_option *p, gf_command c, gf_err *err)
{
    TRY(gf_buf_str(text, p->help, err));
    if (p->kind == GF_OPT_CHOICE)
        TRY(describe_choices(text, p, err));
    else if (p->range)
        TRY(gf_buf_printf(text, err, "; in %s%s", p->range,
                          p->notes & GF_OPT_AUTO ? " or auto" : ""));
    if (p->required & 1u << c)
        return gf_buf_str(text, "; required", err);
    if (p->notes & GF_OPT_LATER)
        return gf_buf_str(text, "; not in this version", err);
    return p->preset ? gf_buf_printf(text, err, "; default %s", p->preset) : GF_OK;
}

static gf_status describe(gf_buf *out, const gf_option *p, gf_command c, gf_err *err)
{
    gf_status st = GF_OK;
    gf_buf text = {0};
    char head[96];
    const bool word = p->notes & GF_OPT_WORD;
    const char *value = gf_option_placeholder(p);
    const int n =
        snprintf(head, sizeof head, "  %s%s%s%s%s", word ? "[" : "",
                 gf_option_written(p->name).text, word ? "]" : "", *value ? " " : "", value);
    TRYG(gf_option_explain(&text, p, c, err));
    TRYG(gf_buf_printf(out, err, "%s%*s", head, n < INDENT ? INDENT - n : 2, ""));
    TRYG(wrapped(out, text.data, n < INDENT ? INDENT : n + 2, err));
    TRYG(gf_buf_str(out, "\n", err));
out:
    gf_buf_free(&text);
    return st;
}

gf_status gf_options_help(const gf_options *o, gf_buf *out, gf_err *err)
{
    if (o->no_command) {
        TRY(gf_buf_str(out,
                       "graft: LoRA fine-tuning of language models\n\n"
                       "usage: graft COMMAND [--option VALUE ...]\n\n",
                       err));
        for (int c = 0; c < GF_COMMANDS; c++)
            TRY(gf_buf_printf(out, err, "  %-10s %s%s\n", gf_command_name((gf_command)c),
                              gf_command_help((gf_command)c),
                              gf_command_is_here((gf_command)c) ? "" : " (not in this version)"));
        return gf_buf_str(
            out, "\n`graft COMMAND --help` lists a command's options; `graft --version`.\n", err);
    }
    TRY(gf_buf_printf(out, err, "graft %s: %s\n\n", gf_command_name(o->command),
                      gf_command_help(o->command)));
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++)
        if (p->commands & 1u << o->command)
            TRY(describe(out, p, o->command, err));
    return gf_buf_str(out, "\nNames may be written with dashes or underscores.\n", err);
}

/* ---- run.json ---------------------------------------------------------------------- */

static gf_status json_string(gf_buf *out, const char *s, gf_err *err)
{
    return s ? gf_json_quote(out, s, strlen(s), err) : gf_buf_str(out, "null", err);
}

static gf_status json_list(gf_buf *out, const gf_strings *list, gf_err *err)
{
    TRY(gf_buf_str(out, "[", err));
    for (int i = 0; i < list->count; i++) {
        if (i)
            TRY(gf_buf_str(out, ",", err));
        TRY(json_string(out, list->item[i], err));
    }
    return gf_buf_str(out, "]", err);
}

static gf_status json_value(gf_buf *out, const gf_options *o, const gf_option *p, gf_err *err)
{
    const void *value = gf_option_value(o, p);
    const bool unset = !p->preset && !*gf_option_given(o, p);
    char name[64];
    bool here;
    switch (p->kind) {
    case GF_OPT_PATH:
    case GF_OPT_TEXT:
        return json_string(out, *(char *const *)value, err);
    case GF_OPT_RESUME:
        if (!*(char *const *)value)
            return gf_buf_str(out, *gf_option_given(o, p) ? "true" : "false", err);
        return json_string(out, *(char *const *)value, err);
    case GF_OPT_INT:
    case GF_OPT_SIZE:
        if (unset)
            return gf_buf_str(out, "null", err);
        if ((p->notes & GF_OPT_AUTO) && *(const int64_t *)value == 0)
            return gf_buf_str(out, "\"auto\"", err);
        return gf_buf_printf(out, err, "%lld", (long long)*(const int64_t *)value);
    case GF_OPT_REAL:
        return unset ? gf_buf_str(out, "null", err)
                     : gf_json_number(out, *(const double *)value, err);
    case GF_OPT_FLAG:
        return gf_buf_str(out, *(const bool *)value ? "true" : "false", err);
    case GF_OPT_CHOICE:
        gf_option_choice_at(p->range, *(const int *)value, name, &here);
        return json_string(out, name, err);
    case GF_OPT_LIST:
        return json_list(out, value, err);
    }
    return GF_OK;
}

gf_status gf_options_json(const gf_options *o, gf_buf *out, gf_err *err)
{
    const gf_option *p;
    bool any = false;
    TRY(gf_buf_str(out, "{", err));
    for (int i = 0; (p = gf_option_at(i)); i++) {
        if (!(p->commands & 1u << o->command))
            continue;
        const size_t n = strlen(p->name);
        TRY(gf_buf_str(out, any ? ",\n" : "\n", err));
        TRY(gf_buf_printf(out, err, "  \"%.*s\": ", (int)(n - (p->name[n - 1] == '_')), p->name));
        TRY(json_value(out, o, p, err));
        any = true;
    }
    return gf_buf_str(out, "\n}", err);
}

bool gf_option_is_free(const char *name)
{
    const gf_option *p = gf_option_anywhere(name, strlen(name));
    return p && (p->notes & GF_OPT_FREE);
}

const char *gf_option_choice(const gf_options *o, const char *name, char out[64])
{
    const gf_option *p = gf_option_anywhere(name, strlen(name));
    bool here;
    if (!p || p->kind != GF_OPT_CHOICE ||
        !gf_option_choice_at(p->range, *(const int *)gf_option_value(o, p), out, &here))
        return NULL;
    return out;
}
