/* peft_match.c - which modules an adapter has, and their ranks. Contract: format/peft.h; the rules:
 * FORMATS 4.2. Patterns are Python's; PCRE2 in UTF mode reads what they use the same way. */
#include "format/peft.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define PATTERN_MAX 65536      /* bytes: real ones have a few hundred */
#define MATCH_LIMIT 1000000    /* backtracks: some 10 ms; real patterns need hundreds */
#define HEAP_LIMIT (64 * 1024) /* KiB */

static gf_status fail_pcre(int code, const char *pattern, const char *doing, gf_err *err)
{
    unsigned char text[160]; /* PCRE2's longest message has 120 */
    pcre2_get_error_message(code, text, sizeof text);
    return gf_fail(err, GF_EINPUT, "the pattern \"%.200s\" %s: %s", pattern, doing,
                   (const char *)text);
}

static gf_status compile(pcre2_code **out, const char *pattern, uint32_t options, const char *shown,
                         gf_err *err)
{
    int code;
    size_t at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return gf_fail(err, GF_ENOMEM, "out of memory");
    /* Python's '.' excludes the line feed only. */
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context, PATTERN_MAX);
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                         options | PCRE2_ANCHORED | PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                         &code, &at, context);
    pcre2_compile_context_free(context);
    return *out ? GF_OK : fail_pcre(code, shown, "is not valid", err);
}

/* Whether `pattern` matches from the start of the text; `shown` is what the user wrote. */
static gf_status matches(bool *out, const char *pattern, uint32_t options, const char *text,
                         const char *shown, gf_err *err)
{
    pcre2_code *code = NULL;
    pcre2_match_data *data = NULL;
    pcre2_match_context *context = NULL;
    gf_status st = GF_OK;
    TRYG(compile(&code, pattern, options, shown, err));
    data = pcre2_match_data_create(1, NULL);
    context = pcre2_match_context_create(NULL);
    if (!data || !context) {
        st = gf_fail(err, GF_ENOMEM, "out of memory");
        goto out;
    }
    pcre2_set_match_limit(context, MATCH_LIMIT);
    pcre2_set_heap_limit(context, HEAP_LIMIT);
    const int found = pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, data, context);
    *out = found >= 0;
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        st = fail_pcre(found, shown, "could not be matched", err);
out:
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return st;
}

/* Equal to the item, or ends with "." and the item. */
static bool ends_with(const char *module, const char *item)
{
    const size_t m = strlen(module), n = strlen(item);
    return n <= m && strcmp(module + m - n, item) == 0 && (n == m || module[m - n - 1] == '.');
}

static bool in_list(char *const *list, int count, const char *module)
{
    for (int i = 0; i < count; i++)
        if (ends_with(module, list[i]))
            return true;
    return false;
}

/* Python's .*?\.[^.]*\.(\d+)\. : the number in the first ".word.digits." */
static bool layer_of(const char *module, int64_t *layer)
{
    for (const char *dot = strchr(module, '.'); dot; dot = strchr(dot + 1, '.')) {
        const char *second = strchr(dot + 1, '.');
        if (!second)
            return false;
        const char *p = second + 1;
        int64_t v = 0;
        while (*p >= '0' && *p <= '9' && v < INT32_MAX)
            v = v * 10 + (*p++ - '0');
        if (p > second + 1 && *p == '.') {
            *layer = v;
            return true;
        }
    }
    return false;
}

static bool layer_matches(const gf_peft_config *c, const char *module)
{
    int64_t layer;
    if (!c->layers)
        return true;
    if (!layer_of(module, &layer))
        return false;
    for (int i = 0; i < c->layers; i++)
        if (c->layer[i] == layer)
            return true;
    return false;
}

/* A target that is a whole path is adapted whatever layers_to_transform says. */
static bool names_whole(const gf_peft_config *c, const char *module)
{
    for (int i = 0; i < c->targets; i++)
        if (strcmp(c->target[i], module) == 0)
            return true;
    return false;
}

gf_status gf_peft_matches(bool *out, const gf_peft_config *c, const char *module, gf_err *err)
{
    bool excluded = in_list(c->exclude, c->excludes, module) || in_list(c->save, c->saves, module);
    *out = false;
    if (c->exclude_regex)
        TRY(matches(&excluded, c->exclude_regex, PCRE2_ENDANCHORED, module, c->exclude_regex, err));
    if (excluded)
        return GF_OK;
    if (!c->target_regex)
        *out = names_whole(c, module) ||
               (in_list(c->target, c->targets, module) && layer_matches(c, module));
    else if (strcmp(c->target_regex, "all-linear") == 0)
        *out = !ends_with(module, "lm_head") && layer_matches(c, module);
    else
        return matches(out, c->target_regex, PCRE2_ENDANCHORED, module, c->target_regex, err);
    return GF_OK;
}

/* The value of the first pattern that matches; *value stays if none does. */
static gf_status first_match(double *value, const gf_pattern *list, int count, const char *module,
                             gf_err *err)
{
    bool found = false;
    for (int i = 0; i < count && !found; i++) {
        char *whole = gf_format(err, "(.*\\.)?(%s)$", list[i].pattern);
        if (!whole)
            return GF_ENOMEM;
        const gf_status st = matches(&found, whole, 0, module, list[i].pattern, err);
        free(whole);
        TRY(st);
        if (found)
            *value = list[i].value;
    }
    return GF_OK;
}

gf_status gf_peft_rank(int64_t *r, double *scale, const gf_peft_config *c, const char *module,
                       gf_err *err)
{
    double rank = (double)c->r, alpha = c->lora_alpha;
    TRY(first_match(&rank, c->rank_pattern, c->rank_patterns, module, err));
    TRY(first_match(&alpha, c->alpha_pattern, c->alpha_patterns, module, err));
    *r = (int64_t)rank;
    *scale = alpha / (c->use_rslora ? sqrt(rank) : rank);
    return GF_OK;
}
