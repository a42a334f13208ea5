#include "text/dataset_parts.h"
#include "text/dataset_source.h"

#include "base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gf_status gf_record_fail(const gf_record *r, const char *fmt, ...)
{
    char what[400]; /* a sentence with a name in it */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return gf_fail(r->err, GF_EINPUT, "%s: %s", r->place, what);
}

gf_status gf_record_tokens(const gf_record *r, const gf_tokens *t)
{
    gf_example *e = r->e;
    e->ids = gf_alloc((size_t)t->count, sizeof *e->ids, r->err);
    e->labels = gf_alloc((size_t)t->count, sizeof *e->labels, r->err);
    if (e->ids == NULL || e->labels == NULL)
        return GF_ENOMEM;
    e->length = t->count;
    for (int64_t i = 0; i < t->count; i++) {
        if (t->id != NULL)
            e->ids[i] = t->id[i];
        e->labels[i] = -100;
    }
    return GF_OK;
}

gf_status gf_record_need_tokenizer(const gf_record *r)
{
    if (r->opt->tokenizer != NULL)
        return GF_OK;
    return gf_fail(r->err, GF_EMISSING, "%s: the model has no tokenizer: only token records work",
                   r->place);
}

void gf_record_answer(const gf_record *r, int64_t tokens)
{
    gf_dataset *d = r->stats;
    if (d == NULL || tokens > GF_SHORT_ANSWER)
        return;
    if (d->short_answers++ == 0) {
        d->short_file = r->e->file;
        d->short_line = r->e->line;
    }
}

static void count_trained(gf_example *e)
{
    e->trained = 0;
    for (int64_t i = 1; i < e->length; i++)
        e->trained += e->labels[i] != -100;
}

static void free_example(gf_example *e)
{
    free(e->ids);
    free(e->labels);
    e->ids = e->labels = NULL;
    e->length = e->trained = 0;
}

/* ids that the tokenizer has but the model has not. */
static gf_status check_ids(const gf_record *r)
{
    for (int64_t i = 0; i < r->e->length && r->opt->vocab > 0; i++)
        if (r->e->ids[i] < 0 || r->e->ids[i] >= r->opt->vocab)
            return gf_record_fail(r, "token %lld is id %d, outside the model's vocabulary of %lld",
                                  (long long)i, r->e->ids[i], (long long)r->opt->vocab);
    return GF_OK;
}

static gf_status build(const gf_record *r, gf_data_format format)
{
    if (format != GF_DATA_MESSAGES && !cJSON_IsObject(r->json))
        return gf_record_fail(r, "want an object");
    switch (format) {
    case GF_DATA_MESSAGES:
        return gf_conversation_example(r);
    case GF_DATA_GUANACO:
        return gf_text_example(r, true);
    case GF_DATA_TEXT:
        return gf_text_example(r, false);
    case GF_DATA_TOKENS:
        return gf_token_example(r);
    case GF_DATA_SHAREGPT:
        return gf_sharegpt_example(r);
    case GF_DATA_ALPACA:
        return gf_alpaca_example(r);
    case GF_DATA_PAIRS:
        return gf_pair_example(r);
    default:
        return gf_fail(r->err, GF_EARG, "%s: no such data format", r->place);
    }
}

static gf_status make_example(gf_example *e, gf_buf *rendered, gf_turns *turns, const cJSON *json,
                              const gf_data_options *opt, gf_dataset *stats, gf_err *err)
{
    char place[320] = "the record"; /* a path of 256 and a number */
    if (e->file != NULL)
        snprintf(place, sizeof place, "%s:%lld", e->file, (long long)e->line);
    *e = (gf_example){.file = e->file, .line = e->line};
    const gf_record r = {.json = json,
                         .opt = opt,
                         .e = e,
                         .stats = stats,
                         .rendered = rendered,
                         .turns = turns,
                         .place = place,
                         .err = err};
    gf_data_format format = opt->format;
    if (format == GF_DATA_AUTO)
        TRY(gf_data_detect(json, place, &format, err));
    gf_status st = build(&r, format);
    if (st == GF_OK)
        st = check_ids(&r);
    if (st != GF_OK)
        free_example(e);
    else
        count_trained(e);
    if (st == GF_OK && e->text == 0) /* records of ids */
        e->text = gf_hash_fast(GF_HASH_START, e->ids, (size_t)e->length * sizeof *e->ids);
    return st;
}

gf_status gf_dataset_example(gf_example *e, gf_buf *rendered, const cJSON *record,
                             const gf_data_options *opt, gf_dataset *stats, gf_err *err)
{
    return make_example(e, rendered, NULL, record, opt, stats, err);
}

/* ---- loading ----------------------------------------------------------------------- */

typedef struct {
    gf_dataset *d;
    gf_data_options opt; /* with the format that the file's first record decided */
    bool automatic;
    const char *file;
    int64_t records;
} loading;

static gf_status same_format(loading *l, const cJSON *json, int64_t line, gf_err *err)
{
    char place[320]; /* as above */
    gf_data_format format;
    snprintf(place, sizeof place, "%s:%lld", l->file, (long long)line);
    TRY(gf_data_detect(json, place, &format, err));
    if (l->records == 0)
        l->opt.format = format;
    if (format == l->opt.format)
        return GF_OK;
    return gf_fail(err, GF_EINPUT,
                   "%s: this record has the %s format, the file's first one %s: split the file, or "
                   "give --data-format",
                   place, gf_data_format_name(format), gf_data_format_name(l->opt.format));
}

/* Applies the rule for examples over max_length; *keep is false for one to be dropped. */
static gf_status limit_length(loading *l, gf_example *e, bool *keep, gf_err *err)
{
    const int64_t max = l->opt.max_length;
    *keep = true;
    if (max <= 0 || e->length <= max)
        return GF_OK;
    switch (l->opt.overlength) {
    case GF_OVERLENGTH_TRUNCATE:
        e->length = max;
        count_trained(e);
        l->d->truncated++;
        l->d->source[l->d->source_count - 1].truncated++;
        return GF_OK;
    case GF_OVERLENGTH_DROP:
        *keep = false;
        l->d->dropped++;
        l->d->source[l->d->source_count - 1].dropped++;
        return GF_OK;
    default:
        return gf_fail(err, GF_EINPUT,
                       "%s:%lld: the example has %lld tokens, over --max-length %lld: raise it, or "
                       "use --overlength truncate or drop",
                       e->file, (long long)e->line, (long long)e->length, (long long)max);
    }
}

static gf_status load_record(void *ctx, cJSON *json, const char *text, size_t n, int64_t line,
                             gf_err *err)
{
    (void)text;
    (void)n;
    loading *l = ctx;
    gf_example e = {.file = l->file, .line = line};
    bool keep = false;
    if (l->automatic)
        TRY(same_format(l, json, line, err));
    l->records++;
    gf_turns turns = {0};
    const bool look = l->d->count < l->opt.looks;
    gf_status st = make_example(&e, NULL, look ? &turns : NULL, json, &l->opt, l->d, err);
    if (st == GF_OK)
        st = limit_length(l, &e, &keep, err);
    if (st == GF_OK && keep && e.length == 0)
        st = gf_fail(err, GF_EINPUT, "%s:%lld: the example is empty", l->file, (long long)line);
    if (st == GF_OK && keep && e.trained == 0)
        st = gf_fail(
            err, GF_EINPUT, "%s:%lld: the example has no trained token%s", l->file, (long long)line,
            l->opt.max_length > 0 && e.length == l->opt.max_length ? " within --max-length" : "");
    if (st == GF_OK && keep && look)
        st = l->opt.look(l->opt.look_ctx, l->d->count, &e, &turns, err);
    if (st == GF_OK && keep)
        st = gf_dataset_add(l->d, &e, err);
    free(turns.turn);
    free_example(&e);
    return st;
}

static gf_status load_file(gf_dataset *d, const char *path, const gf_data_options *opt, gf_err *err)
{
    TRY(gf_dataset_add_file(d, path, err));
    const int source = d->source_count - 1;
    loading l = {.d = d,
                 .opt = *opt,
                 .automatic = opt->format == GF_DATA_AUTO,
                 .file = d->source[source].path};
    TRY(gf_records_read(path, load_record, &l, err));
    if (l.records == 0)
        return gf_fail(err, GF_EINPUT, "%s: the file holds no record", path);
    d->source[source].format = l.opt.format;
    d->source[source].alpaca_text = l.opt.format == GF_DATA_ALPACA && gf_alpaca_is_text(&l.opt);
    return GF_OK;
}

gf_status gf_dataset_load(gf_dataset *d, char *const *files, int count, const gf_data_options *opt,
                          gf_err *err)
{
    for (int i = 0; i < count; i++)
        TRY(load_file(d, files[i], opt, err));
    return d->store == NULL ? GF_OK : gf_token_store_seal(d->store, err);
}
