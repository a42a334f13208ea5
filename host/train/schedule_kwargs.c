/* schedule_kwargs.c - lr_scheduler_kwargs: which schedule takes which, their defaults and ranges.
 * Contract: schedule.h. */
#include "train/schedule.h"

#include "base/json.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const char option[] = "--lr-scheduler-kwargs";

typedef enum { REAL, WHOLE, SWITCH, WORD } kind;

#define T(type) (1u << GF_LR_##type)
#define MIN_COSINES (T(COSINE_MIN) | T(COSINE_WARMUP_MIN))
#define ADAPTIVE (T(PLATEAU) | T(GREEDY))
#define AT(field) offsetof(gf_schedule, field)

/* A number is in [lo, hi], or above lo where `open`. Words are stored as their number. */
static const struct {
    const char *name;
    unsigned types;
    kind kind;
    size_t at;
    double lo, hi;
    bool open;
    const char *words[3];
} keys[] = {
    {"num_cycles", T(COSINE) | MIN_COSINES | T(STABLE), REAL, AT(num_cycles), 0, 1e6, true, {0}},
    {"num_cycles", T(COSINE_RESTARTS), REAL, AT(num_cycles), 1, 1e6, false, {0}},
    {"lr_end", T(POLYNOMIAL), REAL, AT(lr_end), 0, 10, false, {0}},
    {"power", T(POLYNOMIAL), REAL, AT(power), 0, 100, true, {0}},
    {"timescale", T(INVERSE_SQRT), WHOLE, AT(timescale), 1, 1e9, false, {0}},
    {"min_lr", MIN_COSINES | ADAPTIVE, REAL, AT(min_lr), 0, 10, false, {0}},
    {"min_lr_rate", MIN_COSINES, REAL, AT(min_lr_rate), 0, 1, false, {0}},
    {"warmup_lr_rate", T(COSINE_WARMUP_MIN), REAL, AT(warmup_lr_rate), 0, 1, false, {0}},
    {"num_stable_steps", T(STABLE), WHOLE, AT(num_stable_steps), 0, 1e9, false, {0}},
    {"num_decay_steps", T(STABLE), WHOLE, AT(num_decay_steps), 0, 1e9, false, {0}},
    {"warmup_type", T(STABLE), WORD, AT(warmup_type), 0, 0, 0, {"linear", "cosine", "1-sqrt"}},
    {"decay_type", T(STABLE), WORD, AT(decay_type), 0, 0, 0, {"linear", "cosine", "1-sqrt"}},
    {"min_lr_ratio", T(STABLE), REAL, AT(min_lr_ratio), 0, 1, false, {0}},
    {"factor", ADAPTIVE, REAL, AT(factor), 0, 0x1.fffffffffffffp-1, true, {0}}, /* below 1 */
    {"patience", ADAPTIVE, WHOLE, AT(patience), 0, 1e9, false, {0}},
    {"threshold", ADAPTIVE, REAL, AT(threshold), 0, 1e6, false, {0}},
    {"threshold_mode", ADAPTIVE, WORD, AT(threshold_abs), 0, 0, 0, {"rel", "abs"}},
    {"mode", ADAPTIVE, WORD, (size_t)-1, 0, 0, 0, {"min"}}, /* the loss is to fall */
    {"cooldown", ADAPTIVE, WHOLE, AT(cooldown), 0, 1e9, false, {0}},
    {"eps", ADAPTIVE, REAL, AT(eps), 0, 1, false, {0}},
    {"warmup", T(GREEDY), WHOLE, AT(warmup_evals), 0, 1e9, false, {0}},
    {"max_lr", T(GREEDY), REAL, AT(max_lr), 0, 10, true, {0}},
    {"smooth", T(GREEDY), SWITCH, AT(smooth), 0, 0, 0, {0}},
    {"window_size", T(GREEDY), WHOLE, AT(window_size), 1, 1e6, false, {0}},
    {"reset_start", T(GREEDY), WHOLE, AT(reset_start), 1, 1e9, false, {0}},
};
enum { KEYS = sizeof keys / sizeof *keys };

/* Unset where there is no default: the sign says so. */
static void set_defaults(gf_schedule *s)
{
    const bool greedy = s->type == GF_LR_GREEDY;
    s->num_cycles = s->type == GF_LR_COSINE_RESTARTS ? 1 : 0.5;
    s->lr_end = 1e-7;
    s->power = 1;
    s->timescale = s->warmup ? s->warmup : 10000;
    s->min_lr = s->type == GF_LR_PLATEAU ? 0 : greedy ? 1e-3 : -1;
    s->min_lr_rate = s->warmup_lr_rate = -1;
    s->num_stable_steps = s->num_decay_steps = -1;
    s->warmup_type = GF_SHAPE_LINEAR;
    s->decay_type = GF_SHAPE_COSINE;
    s->factor = greedy ? 0.95 : 0.1;
    s->patience = 10;
    s->threshold = greedy ? 1e-6 : 1e-4;
    s->threshold_abs = greedy;
    s->eps = 1e-8;
    s->max_lr = 1;
    s->window_size = 50;
    s->reset_start = 500;
}

static int find_key(gf_lr_type type, const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if ((keys[i].types >> type & 1u) && !strcmp(keys[i].name, name))
            return i;
    return -1;
}

static gf_status unknown_key(gf_lr_type type, const char *name, gf_err *err)
{
    gf_buf list = {0};
    gf_status st = GF_OK;
    for (int i = 0; st == GF_OK && i < KEYS; i++)
        if (keys[i].types >> type & 1u)
            st = gf_buf_printf(&list, err, "%s%s", list.len ? ", " : "", keys[i].name);
    if (st == GF_OK)
        st = gf_fail(err, GF_EARG, "%s: %.80s: this --lr-scheduler-type takes %s", option, name,
                     list.len ? list.data : "none");
    gf_buf_free(&list);
    return st;
}

static gf_status set_number(void *to, int k, const cJSON *item, gf_err *err)
{
    const double x = item->valuedouble;
    const bool whole = keys[k].kind == WHOLE;
    const bool in_range = x <= keys[k].hi && (keys[k].open ? x > keys[k].lo : x >= keys[k].lo);
    if (!cJSON_IsNumber(item) || !in_range || (whole && x != floor(x)))
        return gf_fail(err, GF_EARG, "%s: %s: want a %snumber in %c%g,%g], got %s", option,
                       item->string, whole ? "whole " : "", keys[k].open ? '(' : '[', keys[k].lo,
                       keys[k].hi, cJSON_IsNumber(item) ? "another" : gf_json_kind(item));
    if (whole)
        *(int64_t *)to = (int64_t)x;
    else
        *(double *)to = x;
    return GF_OK;
}

static gf_status set_word(gf_schedule *s, int k, const cJSON *item, gf_err *err)
{
    gf_buf list = {0};
    gf_status st = GF_OK;
    for (int i = 0; st == GF_OK && i < 3 && keys[k].words[i]; i++) {
        if (cJSON_IsString(item) && !strcmp(item->valuestring, keys[k].words[i])) {
            if (keys[k].at == AT(threshold_abs))
                s->threshold_abs = i > 0;
            else if (keys[k].at < sizeof *s)
                *(gf_lr_shape *)((char *)s + keys[k].at) = (gf_lr_shape)i;
            goto out;
        }
        st = gf_buf_printf(&list, err, "%s%s", i ? ", " : "", keys[k].words[i]);
    }
    if (st == GF_OK)
        st = gf_fail(err, GF_EARG, "%s: %s: choose from %s", option, item->string, list.data);
out:
    gf_buf_free(&list);
    return st;
}

static gf_status read_keys(gf_schedule *s, const cJSON *root, gf_err *err)
{
    if (!cJSON_IsObject(root))
        return gf_fail(err, GF_EARG, "%s: want a JSON object, got %s", option, gf_json_kind(root));
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        const int k = find_key(s->type, item->string);
        if (k < 0)
            return unknown_key(s->type, item->string, err);
        if (cJSON_IsNull(item))
            continue;
        if (keys[k].kind == WORD) {
            TRY(set_word(s, k, item, err));
        } else if (keys[k].kind == SWITCH) {
            if (!cJSON_IsBool(item))
                return gf_fail(err, GF_EARG, "%s: %s: want true or false, got %s", option,
                               item->string, gf_json_kind(item));
            *(bool *)((char *)s + keys[k].at) = cJSON_IsTrue(item);
        } else {
            TRY(set_number((char *)s + keys[k].at, k, item, err));
        }
    }
    return GF_OK;
}

/* What only the whole shows. */
static gf_status check(gf_schedule *s, gf_err *err)
{
    if (s->type == GF_LR_COSINE_MIN || s->type == GF_LR_COSINE_WARMUP_MIN) {
        if ((s->min_lr >= 0) == (s->min_lr_rate >= 0))
            return gf_fail(err, GF_EARG, "%s: want one of min_lr and min_lr_rate", option);
        if (s->min_lr > s->peak)
            return gf_fail(err, GF_EARG, "%s: min_lr %g is above --learning-rate %g", option,
                           s->min_lr, s->peak);
        if (s->min_lr >= 0)
            s->min_lr_rate = s->min_lr / s->peak;
    }
    if (s->type == GF_LR_POLYNOMIAL && s->lr_end >= s->peak)
        return gf_fail(err, GF_EARG, "%s: lr_end %g is not below --learning-rate %g", option,
                       s->lr_end, s->peak);
    if (s->type != GF_LR_STABLE)
        return GF_OK;
    if (s->num_decay_steps < 0)
        return gf_fail(err, GF_EARG, "%s: warmup_stable_decay wants num_decay_steps", option);
    if (s->num_stable_steps < 0)
        s->num_stable_steps = s->total - s->warmup - s->num_decay_steps;
    if (s->num_stable_steps < 0)
        return gf_fail(err, GF_EARG,
                       "%s: num_decay_steps %lld and %lld steps of warm-up are more than the run's "
                       "%lld steps",
                       option, (long long)s->num_decay_steps, (long long)s->warmup,
                       (long long)s->total);
    return GF_OK;
}

gf_status gf_schedule_open(gf_schedule *s, const char *kwargs, gf_err *err)
{
    cJSON *root = NULL;
    gf_status st = GF_OK;
    set_defaults(s);
    if (kwargs) {
        TRYG(gf_json_parse(&root, kwargs, strlen(kwargs), option, 1, err));
        TRYG(read_keys(s, root, err));
    }
    TRYG(check(s, err));
out:
    cJSON_Delete(root);
    return st;
}
