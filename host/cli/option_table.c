/* option_table.c - options.def as data, look-up with the nearest name, text to value. Contract:
 * option_table.h. */
#include "cli/option_table.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words of options.def. */
enum {
    DATA = 1 << GF_CMD_data,
    PLAN = 1 << GF_CMD_plan,
    TRAIN = 1 << GF_CMD_train,
    EVAL = 1 << GF_CMD_eval,
    GENERATE = 1 << GF_CMD_generate,
    CHAT = 1 << GF_CMD_chat,
    MERGE = 1 << GF_CMD_merge,
    CONVERT = 1 << GF_CMD_convert,
    EXPORT = 1 << GF_CMD_export,
    TOKENIZE = 1 << GF_CMD_tokenize,
    INFO = 1 << GF_CMD_info,
    DOCTOR = 1 << GF_CMD_doctor,
    HELP = 1 << GF_CMD_help,
};
enum { LATER = GF_OPT_LATER, FREE = GF_OPT_FREE, AUTO = GF_OPT_AUTO, WORD = GF_OPT_WORD };

static const gf_option table[] = {
#define X(kind, field, commands, required, preset, range, notes, help_text)                        \
    {#field,                                                                                       \
     GF_OPT_##kind,                                                                                \
     commands,                                                                                     \
     required,                                                                                     \
     preset,                                                                                       \
     range,                                                                                        \
     notes,                                                                                        \
     help_text,                                                                                    \
     offsetof(gf_options, field),                                                                  \
     offsetof(gf_options, given.field)},
#include "cli/options.def"
#undef X
};
enum { OPTIONS = sizeof table / sizeof table[0] };

static const struct {
    const char *name, *help;
    bool here;
} command_table[GF_COMMANDS] = {
#define X(name, here, help) {#name, help, here},
    GF_COMMAND_LIST(X)
#undef X
};

const gf_option *gf_option_at(int i)
{
    return i >= 0 && i < (int)OPTIONS ? &table[i] : NULL;
}

/* Bytes of the name: without the underscore that keeps two fields apart. */
static size_t name_length(const char *name)
{
    const size_t n = strlen(name);
    return n && name[n - 1] == '_' ? n - 1 : n;
}

gf_option_flag gf_option_written(const char *name)
{
    gf_option_flag flag;
    snprintf(flag.text, sizeof flag.text, "--%.*s", (int)name_length(name), name);
    for (char *c = flag.text; *c; c++)
        if (*c == '_')
            *c = '-';
    return flag;
}

static char folded(char c)
{
    return c == '-' ? '_' : c;
}

bool gf_option_same(const char *name, const char *text, size_t n)
{
    if (name_length(name) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (folded(name[i]) != folded(text[i]))
            return false;
    return true;
}

const gf_option *gf_option_find(const char *name, size_t length, gf_command command)
{
    for (int i = 0; i < (int)OPTIONS; i++)
        if ((table[i].commands & 1u << command) && gf_option_same(table[i].name, name, length))
            return &table[i];
    return NULL;
}

const gf_option *gf_option_anywhere(const char *name, size_t length)
{
    for (int i = 0; i < (int)OPTIONS; i++)
        if (gf_option_same(table[i].name, name, length))
            return &table[i];
    return NULL;
}

const gf_option *gf_option_word(gf_command command)
{
    for (int i = 0; i < (int)OPTIONS; i++)
        if ((table[i].commands & 1u << command) && (table[i].notes & GF_OPT_WORD))
            return &table[i];
    return NULL;
}

/* Levenshtein's distance of a and b. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
    enum { LONGEST = 64 }; /* no name is longer; what is cut off a longer word changes no answer */
    na = na < LONGEST ? na : LONGEST;
    nb = nb < LONGEST ? nb : LONGEST;
    int row[LONGEST + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            const int same = corner + (folded(a[i - 1]) != folded(b[j - 1]));
            corner = row[j];
            row[j] = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = row[j] < same ? row[j] : same;
        }
    }
    return row[nb];
}

/* Is one a part of the other? --epochs means --num-train-epochs, --model-name-or-path --model. */
static bool contains(const char *a, size_t na, const char *b, size_t nb)
{
    enum { SHORTEST = 4 }; /* shorter parts are found everywhere */
    if (nb < SHORTEST || na < nb)
        return false;
    for (size_t at = 0; at + nb <= na; at++) {
        size_t i = 0;
        while (i < nb && folded(a[at + i]) == folded(b[i]))
            i++;
        if (i == nb)
            return true;
    }
    return false;
}

static int unlikeness(const char *a, size_t na, const char *b, size_t nb)
{
    return contains(a, na, b, nb) || contains(b, nb, a, na) ? 1 : distance(a, na, b, nb);
}

const gf_option *gf_option_nearest(const char *name, size_t length, gf_command command)
{
    const gf_option *best = NULL;
    int least = 0;
    for (int i = 0; i < (int)OPTIONS; i++) {
        if (!(table[i].commands & 1u << command))
            continue;
        const int d = unlikeness(name, length, table[i].name, name_length(table[i].name));
        if (!best || d < least) {
            best = &table[i];
            least = d;
        }
    }
    return best;
}

const char *gf_command_name(gf_command c)
{
    return command_table[c].name;
}
const char *gf_command_help(gf_command c)
{
    return command_table[c].help;
}
bool gf_command_is_here(gf_command c)
{
    return command_table[c].here;
}

gf_command gf_command_find(const char *name)
{
    for (int c = 0; c < GF_COMMANDS; c++)
        if (!strcmp(command_table[c].name, name))
            return (gf_command)c;
    return GF_COMMANDS;
}

gf_command gf_command_nearest(const char *name)
{
    int best = 0, least = 0;
    for (int c = 0; c < GF_COMMANDS; c++) {
        const char *other = command_table[c].name;
        const int d = distance(name, strlen(name), other, strlen(other));
        if (c == 0 || d < least) {
            best = c;
            least = d;
        }
    }
    return (gf_command)best;
}

/* ---- text to value --------------------------------------------------------------------------- */

bool gf_option_choice_at(const char *range, int n, char out[64], bool *here)
{
    for (; n > 0; n--) {
        range = strchr(range, '|');
        if (!range)
            return false;
        range++;
    }
    *here = *range != '!';
    range += !*here;
    snprintf(out, 64, "%.*s", (int)strcspn(range, "|"), range);
    return true;
}

static gf_status set_choice(int *out, const gf_option *p, const char *text, const char *where,
                            gf_err *err)
{
    char name[64], list[512] = "";
    bool here;
    for (int n = 0; gf_option_choice_at(p->range, n, name, &here); n++) {
        if (gf_option_same(name, text, strlen(text))) {
            if (!here)
                return gf_fail(err, GF_EMISSING, "%s %s is not in this version", where, text);
            *out = n;
            return GF_OK;
        }
        const size_t used = strlen(list);
        if (here)
            snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", name);
    }
    return gf_fail(err, GF_EARG, "%s: no such choice \"%s\"; choose from %s", where, text, list);
}

static bool starts_a_number(const char *text)
{
    const char *p = text + (*text == '-' || *text == '+');
    return (*p >= '0' && *p <= '9' && p[1] != 'x' && p[1] != 'X') || *p == '.';
}

/* A whole number, also as 3.0 or 1e3; with K, M, G where bytes are meant. */
static bool read_int(int64_t *out, const char *text, bool bytes)
{
    char *end;
    if (!starts_a_number(text))
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10); /* exact, also over 2^53 */
    if (!*end)
        return errno == 0;
    const double x = strtod(text, &end);
    int shift = 0;
    if (bytes && *end) {
        static const char units[] = "KMG";
        const char *unit = strchr(units, toupper((unsigned char)*end));
        if (!unit)
            return false;
        shift = 10 * (int)(1 + unit - units);
        end += end[1] == 'i' && end[2] == 'B' ? 3 : 1;
    }
    const double scaled = ldexp(x, shift);
    if (*end || scaled != floor(scaled) || fabs(scaled) >= 0x1p63)
        return false;
    *out = (int64_t)scaled;
    return true;
}

static bool int_in_range(int64_t x, const char *range)
{
    char *end;
    const int64_t lo = strtoll(range + 1, &end, 10);
    const int64_t hi = !strncmp(end + 1, "inf", 3) ? INT64_MAX : strtoll(end + 1, NULL, 10);
    return x >= lo && x <= hi;
}

static bool real_in_range(double x, const char *range)
{
    char *end;
    const double lo = strtod(range + 1, &end), hi = strtod(end + 1, &end);
    return (*range == '(' ? x > lo : x >= lo) && (*end == ')' ? x < hi : x <= hi);
}

static gf_status set_int(int64_t *out, const gf_option *p, const char *text, const char *where,
                         gf_err *err)
{
    const bool bytes = p->kind == GF_OPT_SIZE, can_be_auto = p->notes & GF_OPT_AUTO;
    int64_t x;
    if (can_be_auto && !strcmp(text, "auto")) {
        *out = 0;
        return GF_OK;
    }
    if (!read_int(&x, text, bytes) || !int_in_range(x, p->range))
        return gf_fail(err, GF_EARG, "%s: \"%s\" is not %s in %s%s", where, text,
                       bytes ? "a number of bytes (K, M, G are understood)" : "a whole number",
                       p->range, can_be_auto ? ", nor auto" : "");
    *out = x;
    return GF_OK;
}

static gf_status set_real(double *out, const gf_option *p, const char *text, const char *where,
                          gf_err *err)
{
    char *end = NULL;
    const double x = starts_a_number(text) ? strtod(text, &end) : 0;
    if (!end || *end || !real_in_range(x, p->range))
        return gf_fail(err, GF_EARG, "%s: \"%s\" is not a number in %s", where, text, p->range);
    *out = x;
    return GF_OK;
}

static gf_status set_flag(bool *out, const char *text, const char *where, gf_err *err)
{
    *out = !strcmp(text, "true") || !strcmp(text, "True");
    if (!*out && strcmp(text, "false") != 0 && strcmp(text, "False") != 0)
        return gf_fail(err, GF_EARG, "%s: \"%s\" is neither true nor false", where, text);
    return GF_OK;
}

static gf_status set_string(char **out, const char *text, gf_err *err)
{
    char *copy = gf_strdup(text, err);
    if (!copy)
        return GF_ENOMEM;
    free(*out);
    *out = copy;
    return GF_OK;
}

static gf_status add_string(gf_strings *list, const char *text, gf_err *err)
{
    char **item = gf_realloc(list->item, (size_t)list->count + 1, sizeof *item, err);
    if (!item)
        return GF_ENOMEM;
    list->item = item;
    item[list->count] = gf_strdup(text, err);
    if (!item[list->count])
        return GF_ENOMEM;
    list->count++;
    return GF_OK;
}

gf_status gf_option_set(gf_options *o, const gf_option *p, const char *text, const char *where,
                        gf_err *err)
{
    void *value = gf_option_value(o, p);
    const bool path = p->kind == GF_OPT_PATH || p->kind == GF_OPT_LIST || p->kind == GF_OPT_RESUME;
    if (path && !*text)
        return gf_fail(err, GF_EARG, "%s: the path is empty", where);
    switch (p->kind) {
    case GF_OPT_PATH:
    case GF_OPT_TEXT:
    case GF_OPT_RESUME:
        return set_string(value, text, err);
    case GF_OPT_INT:
    case GF_OPT_SIZE:
        return set_int(value, p, text, where, err);
    case GF_OPT_REAL:
        return set_real(value, p, text, where, err);
    case GF_OPT_FLAG:
        return set_flag(value, text, where, err);
    case GF_OPT_CHOICE:
        return set_choice(value, p, text, where, err);
    case GF_OPT_LIST:
        return add_string(value, text, err);
    }
    return GF_EARG;
}
