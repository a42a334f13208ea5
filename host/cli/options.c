/* options.c - the command line and --config to gf_options. Contract: options.h. */
#include "cli/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/option_table.h"

void gf_options_free(gf_options *o)
{
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++) {
        void *value = gf_option_value(o, p);
        if (p->kind == GF_OPT_PATH || p->kind == GF_OPT_TEXT || p->kind == GF_OPT_RESUME) {
            free(*(char **)value);
        } else if (p->kind == GF_OPT_LIST) {
            gf_strings *list = value;
            for (int k = 0; k < list->count; k++)
                free(list->item[k]);
            free(list->item);
        }
    }
    *o = (gf_options){0};
}

static gf_status set_defaults(gf_options *o, gf_err *err)
{
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++)
        if (p->preset)
            TRY(gf_option_set(o, p, p->preset, p->name, err));
    return GF_OK;
}

/* Options of later parts stand in the table so that whoever names one gets this answer and not that
 * there is no such thing. */
static gf_status check_here(const gf_option *p, const char *text, const char *where, gf_err *err)
{
    const bool off = p->kind == GF_OPT_FLAG && (!strcmp(text, "false") || !strcmp(text, "False"));
    if ((p->notes & GF_OPT_LATER) && !off)
        return gf_fail(err, GF_EMISSING, "%s is not in this version", where);
    return GF_OK;
}

static gf_status give(gf_options *o, const gf_option *p, const char *text, const char *where,
                      gf_err *err)
{
    TRY(check_here(p, text, where, err));
    TRY(gf_option_set(o, p, text, where, err));
    *gf_option_given(o, p) = true;
    return GF_OK;
}

/* ---- the command line -------------------------------------------------------------- */

typedef struct {
    gf_options *o;
    int argc;
    char *const *argv;
    int i; /* of the next argument */
} line;

static gf_status unknown_option(const line *l, const char *name, size_t n, gf_err *err)
{
    const char *command = gf_command_name(l->o->command);
    const gf_option *other = gf_option_anywhere(name, n);
    if (other) {
        char takers[160] = "";
        for (int c = 0; c < GF_COMMANDS; c++) {
            const size_t used = strlen(takers);
            if (other->commands & 1u << c)
                snprintf(takers + used, sizeof takers - used, "%s%s", used ? ", " : "",
                         gf_command_name((gf_command)c));
        }
        return gf_fail(err, GF_EARG, "`graft %s` takes no --%.*s; that is an option of %s", command,
                       (int)n, name, takers);
    }
    const gf_option *near = gf_option_nearest(name, n, l->o->command);
    return gf_fail(err, GF_EARG, "unknown option --%.*s; the nearest is %s (`graft %s --help`)",
                   n > 80 ? 80 : (int)n, name, near ? gf_option_written(near->name).text : "--help",
                   command);
}

static bool is_true_or_false(const char *s)
{
    return !strcmp(s, "true") || !strcmp(s, "True") || !strcmp(s, "false") || !strcmp(s, "False");
}

/* The value of an option that stands at l->i - 1 without '='. NULL: it has none. */
static const char *take_value(line *l, const gf_option *p)
{
    const char *next = l->i < l->argc ? l->argv[l->i] : NULL;
    bool take = next && strncmp(next, "--", 2) != 0;
    if (p->kind == GF_OPT_FLAG)
        take = take && is_true_or_false(next);
    if (p->kind == GF_OPT_RESUME)
        take = take && next[0] != '-';
    if (!take)
        return NULL;
    l->i++;
    return next;
}

static gf_status parse_option(line *l, gf_err *err)
{
    const char *name = l->argv[l->i++] + 2;
    const size_t n = strcspn(name, "=");
    const gf_option *p = gf_option_find(name, n, l->o->command);
    if (!p)
        return unknown_option(l, name, n, err);
    const gf_option_flag where = gf_option_written(p->name);
    const char *text = name[n] == '=' ? name + n + 1 : take_value(l, p);
    if (!text && p->kind == GF_OPT_FLAG)
        text = "true";
    if (!text && p->kind == GF_OPT_RESUME) {
        *gf_option_given(l->o, p) = true;
        return GF_OK;
    }
    if (!text)
        return gf_fail(err, GF_EARG, "%s wants a value (one that begins with -- as %s=VALUE)",
                       where.text, where.text);
    return give(l->o, p, text, where.text, err);
}

static gf_status parse_word(line *l, gf_err *err)
{
    const char *word = l->argv[l->i++];
    const gf_option *p = gf_option_word(l->o->command);
    if (!p)
        return gf_fail(err, GF_EARG, "\"%.80s\" belongs to no option (`graft %s --help`)", word,
                       gf_command_name(l->o->command));
    if (*gf_option_given(l->o, p))
        return gf_fail(err, GF_EARG, "\"%.80s\": one %s is enough; quote it if it has spaces", word,
                       p->name);
    return give(l->o, p, word, p->name, err);
}

static gf_status parse_line(line *l, gf_err *err)
{
    bool words_only = false;
    for (int i = l->i; i < l->argc && strcmp(l->argv[i], "--") != 0; i++)
        if (!strcmp(l->argv[i], "--help") || !strcmp(l->argv[i], "-h")) {
            l->o->help = true;
            return GF_OK;
        }
    while (l->i < l->argc) {
        const char *arg = l->argv[l->i];
        if (!words_only && !strcmp(arg, "--")) {
            words_only = true;
            l->i++;
        } else if (!words_only && !strncmp(arg, "--", 2)) {
            TRY(parse_option(l, err));
        } else if (!words_only && arg[0] == '-' && arg[1]) {
            return gf_fail(err, GF_EARG, "unknown option %.80s (`graft %s --help`)", arg,
                           gf_command_name(l->o->command));
        } else {
            TRY(parse_word(l, err));
        }
    }
    return GF_OK;
}

/* ---- --config ---------------------------------------------------------------------- */

/* The text of a JSON value, as it would stand on the command line. */
static gf_status config_text(gf_buf *text, const cJSON *value, const char *where, gf_err *err)
{
    if (cJSON_IsBool(value))
        return gf_buf_str(text, cJSON_IsTrue(value) ? "true" : "false", err);
    if (cJSON_IsNumber(value))
        return gf_json_number(text, value->valuedouble, err);
    if (cJSON_IsString(value))
        return gf_buf_str(text, value->valuestring, err);
    char *printed = cJSON_PrintUnformatted(value);
    if (!printed)
        return gf_fail(err, GF_ENOMEM, "%s: out of memory", where);
    const gf_status st = gf_buf_str(text, printed, err);
    free(printed);
    return st;
}

/* ["a","b"] as a,b; what is not a name or a number has no place in a list. */
static gf_status config_list(gf_buf *text, const cJSON *array, const char *where, gf_err *err)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (!cJSON_IsString(item) && !cJSON_IsNumber(item))
            return gf_fail(err, GF_EARG, "%s: want a list of names or numbers", where);
        if (text->len)
            TRY(gf_buf_str(text, ",", err));
        TRY(config_text(text, item, where, err));
    }
    return GF_OK;
}

static gf_status config_value(gf_options *o, const gf_option *p, const cJSON *value,
                              const char *where, gf_err *err)
{
    gf_status st = GF_OK;
    gf_buf text = {0};
    if (p->kind == GF_OPT_LIST && cJSON_IsArray(value)) {
        const cJSON *item;
        cJSON_ArrayForEach(item, value)
        {
            if (!cJSON_IsString(item))
                return gf_fail(err, GF_EARG, "%s: want a list of paths", where);
            TRY(give(o, p, item->valuestring, where, err));
        }
        return GF_OK;
    }
    if (p->kind == GF_OPT_RESUME && cJSON_IsBool(value)) {
        *gf_option_given(o, p) = cJSON_IsTrue(value);
        return GF_OK;
    }
    const bool wants_text = p->kind == GF_OPT_PATH || p->kind == GF_OPT_LIST ||
                            p->kind == GF_OPT_RESUME || p->kind == GF_OPT_CHOICE;
    if ((wants_text && !cJSON_IsString(value)) ||
        (p->kind != GF_OPT_TEXT && (cJSON_IsArray(value) || cJSON_IsObject(value))))
        return gf_fail(err, GF_EARG, "%s: want a %s", where,
                       wants_text ? "string" : "single value");
    if (cJSON_IsNumber(value) && fabs(value->valuedouble) > 0x1p53 && p->kind != GF_OPT_REAL)
        return gf_fail(err, GF_EARG,
                       "%s: a number past 2^53 is not exact in JSON; put it in quotes", where);
    if (cJSON_IsArray(value))
        TRYG(config_list(&text, value, where, err));
    else
        TRYG(config_text(&text, value, where, err));
    TRYG(give(o, p, text.data ? text.data : "", where, err));
out:
    gf_buf_free(&text);
    return st;
}

/* A key of another command is left alone, so that one file serves plan, train and eval. */
static gf_status config_key(gf_options *o, const char *path, const cJSON *value,
                            const bool *on_line, gf_err *err)
{
    const char *key = value->string;
    const gf_option *p = gf_option_find(key, strlen(key), o->command);
    if (!p && gf_option_anywhere(key, strlen(key)))
        return GF_OK;
    if (!p) {
        const gf_option *near = gf_option_nearest(key, strlen(key), o->command);
        return gf_fail(err, GF_EARG, "%s: unknown key \"%.80s\"; the nearest is \"%s\"", path, key,
                       near ? near->name : "");
    }
    if (p->kind == GF_OPT_PATH && gf_option_same(p->name, "config", 6))
        return gf_fail(err, GF_EARG, "%s: a config file names no other config", path);
    for (int i = 0; gf_option_at(i); i++)
        if (gf_option_at(i) == p && on_line[i])
            return GF_OK;
    if (cJSON_IsNull(value))
        return GF_OK;
    char *where = gf_format(err, "%s: %s", path, p->name);
    if (!where)
        return GF_ENOMEM;
    const gf_status st = config_value(o, p, value, where, err);
    free(where);
    return st;
}

static gf_status read_config(gf_options *o, gf_err *err)
{
    enum { MOST = 256 }; /* options; the table has under a hundred */
    bool on_line[MOST] = {0};
    for (int i = 0; i < MOST && gf_option_at(i); i++)
        on_line[i] = *gf_option_given(o, gf_option_at(i));
    cJSON *json = NULL;
    gf_status st = gf_json_read(&json, o->config, err);
    if (st == GF_OK && !cJSON_IsObject(json))
        st = gf_fail(err, GF_EINPUT, "%s: want an object of options", o->config);
    const cJSON *value;
    if (st == GF_OK)
        cJSON_ArrayForEach(value, json)
        {
            st = config_key(o, o->config, value, on_line, err);
            if (st != GF_OK)
                break;
        }
    cJSON_Delete(json);
    return st;
}

/* ---- what must and what must not stand together ------------------------------------ */

static gf_status check_required(const gf_options *o, gf_err *err)
{
    char names[256] = "";
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++) {
        const size_t used = strlen(names);
        if ((p->required & 1u << o->command) && !*gf_option_given(o, p))
            snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                     gf_option_written(p->name).text);
    }
    if (names[0])
        return gf_fail(err, GF_EARG, "`graft %s` needs %s (`graft %s --help`)",
                       gf_command_name(o->command), names, gf_command_name(o->command));
    return GF_OK;
}

/* Of two options of one group at most one may be given; of a group that is needed, one must. */
static gf_status check_sampling(const gf_options *o, gf_err *err)
{
    const bool draws = (o->given.top_k && o->top_k > 0) || (o->given.top_p && o->top_p < 1);
    if (draws && o->temperature == 0)
        return gf_fail(err, GF_EARG,
                       "--top-k and --top-p do nothing at --temperature 0, which always takes the "
                       "likeliest token: give a --temperature too, for instance 0.7");
    return GF_OK;
}

static gf_status check_groups(const gf_options *o, gf_err *err)
{
    static const struct {
        int command; /* -1: any */
        bool needed;
        const char *name[4];
    } groups[] = {
        {GF_CMD_generate, true, {"prompt", "messages"}},
        {GF_CMD_tokenize, true, {"text", "messages"}},
        {GF_CMD_merge, true, {"output_dir", "output"}},
        {GF_CMD_convert, true, {"output_dir", "output"}},
        {GF_CMD_eval, true, {"data", "choices"}},
        {-1, false, {"eval_data", "eval_split"}},
        {-1, false, {"num_train_epochs", "max_steps"}},
        {-1, false, {"warmup_steps", "warmup_ratio"}},
    };
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        if (groups[g].command >= 0 && groups[g].command != (int)o->command)
            continue;
        const gf_option *first = NULL;
        char names[160] = "";
        for (int k = 0; k < 4 && groups[g].name[k]; k++) {
            const char *name = groups[g].name[k];
            const gf_option *p = gf_option_find(name, strlen(name), o->command);
            if (!p)
                continue;
            const size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", used ? " or " : "",
                     gf_option_written(name).text);
            if (!*gf_option_given(o, p))
                continue;
            if (first)
                return gf_fail(err, GF_EARG, "%s and %s exclude each other",
                               gf_option_written(first->name).text,
                               gf_option_written(p->name).text);
            first = p;
        }
        if (groups[g].needed && !first)
            return gf_fail(err, GF_EARG, "`graft %s` needs %s", gf_command_name(o->command), names);
    }
    return GF_OK;
}

/* Ranks that a launcher says there are; torchrun's count only beside the number of this one. */
static int64_t launched_ranks(const gf_options *o)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE"};
    if (o->given.world_size)
        return o->world_size;
    for (int i = 0; i < (getenv("RANK") ? 3 : 2); i++) {
        const char *text = getenv(names[i]);
        const long n = text ? strtol(text, NULL, 10) : 0;
        if (n > 0 && n < 1000000) /* more is not a number of ranks */
            return n;
    }
    return 1;
}

/* Ranks of any other command would each print the result, or write the same files. */
static gf_status check_ranks(const gf_options *o, gf_err *err)
{
    const int64_t ranks = launched_ranks(o);
    if (ranks == 1 || o->command == GF_CMD_train || o->command == GF_CMD_eval)
        return GF_OK;
    return gf_fail(err, GF_EARG,
                   "`graft %s` was started as %lld ranks; only train and eval work together: start "
                   "it as one process, without mpirun or torchrun",
                   gf_command_name(o->command), (long long)ranks);
}

static gf_status check_batch(const gf_options *o, gf_err *err)
{
    if (!o->given.per_device_train_batch_size && !o->given.gradient_accumulation_steps)
        return GF_OK;
    enum { HF_DEFAULT = 8 }; /* transformers' per_device_train_batch_size */
    const int64_t each =
        o->per_device_train_batch_size ? o->per_device_train_batch_size : HF_DEFAULT;
    const int64_t times = o->gradient_accumulation_steps ? o->gradient_accumulation_steps : 1;
    const int64_t ranks = launched_ranks(o);
    return gf_fail(
        err, GF_EARG,
        "per_device_train_batch_size %lld x gradient_accumulation_steps %lld x %lld "
        "rank%s is --batch-size %lld here: say that instead (graft has no micro-batches)",
        (long long)each, (long long)times, (long long)ranks, ranks == 1 ? "" : "s",
        (long long)(each * times * ranks));
}

static gf_status find_command(gf_options *o, const char *name, gf_err *err)
{
    if (!strcmp(name, "--version")) {
        o->version = true;
    } else if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        o->help = o->no_command = true;
    } else {
        o->command = gf_command_find(name);
        if (o->command == GF_COMMANDS) {
            o->command = GF_CMD_data;
            return gf_fail(err, GF_EARG, "unknown command \"%.80s\"; the nearest is %s", name,
                           gf_command_name(gf_command_nearest(name)));
        }
    }
    return GF_OK;
}

gf_status gf_options_parse(gf_options *o, int argc, char *const argv[], gf_err *err)
{
    line l = {.o = o, .argc = argc, .argv = argv, .i = 2};
    if (argc < 2)
        return gf_fail(err, GF_EARG, "a command is missing (`graft --help` lists them)");
    TRY(set_defaults(o, err));
    TRY(find_command(o, argv[1], err));
    if (o->version || o->no_command)
        return GF_OK;
    if (!gf_command_is_here(o->command))
        return gf_fail(err, GF_EMISSING, "`graft %s` is not in this version",
                       gf_command_name(o->command));
    TRY(parse_line(&l, err));
    if (o->help)
        return GF_OK;
    if (o->config)
        TRY(read_config(o, err));
    TRY(check_ranks(o, err));
    TRY(check_batch(o, err));
    TRY(check_required(o, err));
    TRY(check_groups(o, err));
    return check_sampling(o, err);
}
