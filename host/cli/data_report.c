/* data_report.c - contract: data_report.h. */
#include "cli/data_report.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/number.h"

static int by_length(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* An example's content in short, and its number. */
typedef struct {
    uint64_t hash;
    int64_t index;
} print;

static int by_hash(const void *a, const void *b)
{
    const print *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static bool same_content(const gf_dataset *d, int64_t a, int64_t b)
{
    const gf_example x = gf_dataset_at(d, a), y = gf_dataset_at(d, b);
    const size_t bytes = (size_t)x.length * sizeof *x.ids;
    return x.length == y.length && memcmp(x.ids, y.ids, bytes) == 0 &&
           memcmp(x.labels, y.labels, bytes) == 0;
}

static gf_status measure_lengths(gf_data_report *r, const gf_dataset *d, gf_err *err)
{
    const int64_t n = d->count;
    int64_t *length = gf_alloc((size_t)n, sizeof *length, err);
    if (!length)
        return GF_ENOMEM;
    for (int64_t i = 0; i < n; i++)
        length[i] = d->entry[i].length;
    qsort(length, (size_t)n, sizeof *length, by_length);
    if (n > 0) { /* nearest rank: the smallest length that so many percent do not exceed */
        r->min = length[0];
        r->median = length[(n * 50 + 99) / 100 - 1];
        r->p90 = length[(n * 90 + 99) / 100 - 1];
        r->p99 = length[(n * 99 + 99) / 100 - 1];
        r->max = length[n - 1];
    }
    free(length);
    return GF_OK;
}

static gf_status find_duplicates(gf_data_report *r, const gf_dataset *d, gf_err *err)
{
    const int64_t n = d->count;
    print *e = gf_alloc((size_t)n, sizeof *e, err);
    if (!e)
        return GF_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        const gf_example x = gf_dataset_at(d, i);
        const size_t bytes = (size_t)x.length * sizeof *x.ids;
        e[i] = (print){gf_hash_fast(gf_hash_fast(GF_HASH_START, x.ids, bytes), x.labels, bytes), i};
    }
    qsort(e, (size_t)n, sizeof *e, by_hash);
    for (int64_t i = 1, first = 0; i < n; i++) {
        if (e[first].hash != e[i].hash || !same_content(d, e[first].index, e[i].index)) {
            first = i;
            continue;
        }
        r->duplicates++;
        if (r->duplicate < 0 || e[i].index < r->duplicate) {
            r->duplicate = e[i].index;
            r->original = e[first].index;
        }
    }
    free(e);
    return GF_OK;
}

gf_status gf_data_report_make(gf_data_report *r, const gf_dataset *d, int64_t max_length,
                              gf_err *err)
{
    *r = (gf_data_report){.examples = d->count,
                          .data = d,
                          .longest = -1,
                          .duplicate = -1,
                          .original = -1,
                          .max_length = max_length,
                          .dropped = d->dropped,
                          .truncated = d->truncated,
                          .no_end_token = d->no_end_token,
                          .prefix_mismatch = d->prefix_mismatch};
    for (int64_t i = 0; i < d->count; i++) {
        const gf_data_entry *e = &d->entry[i];
        r->tokens += e->length;
        r->trained += e->trained;
        r->over += e->length > max_length;
        if (r->longest < 0 || e->length > d->entry[r->longest].length)
            r->longest = i;
    }
    TRY(measure_lengths(r, d, err));
    return find_duplicates(r, d, err);
}

/* ---- for people ----------------------------------------------------------------------- */

static gf_status place(const gf_dataset *d, int64_t i, gf_buf *out, gf_err *err)
{
    const gf_example e = gf_dataset_at(d, i);
    return gf_buf_printf(out, err, "%s:%lld", e.file, (long long)e.line);
}

static gf_status over_length(const gf_data_report *r, const gf_options *o, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_printf(out, err, "  over %-19lld ", (long long)r->max_length));
    if (o->overlength == GF_OVERLENGTH_TRUNCATE)
        return gf_buf_printf(out, err, "%s truncated\n", gf_number_count(r->truncated).text);
    if (o->overlength == GF_OVERLENGTH_DROP)
        return gf_buf_printf(out, err, "%s dropped\n", gf_number_count(r->dropped).text);
    return gf_buf_printf(out, err, "%s%s\n", gf_number_count(r->over).text,
                         r->over ? "; train refuses them without --overlength truncate or drop, "
                                   "or a larger --max-length"
                                 : "");
}

gf_status gf_data_report_text(const gf_data_report *r, const gf_options *o, const char *name,
                              gf_buf *out, gf_err *err)
{
    const double share = r->tokens ? 100.0 * (double)r->trained / (double)r->tokens : 0;
    TRY(gf_buf_printf(out, err, "%s\n", name));
    TRY(gf_buf_printf(out, err, "  examples                 %s\n",
                      gf_number_count(r->examples).text));
    TRY(gf_buf_printf(out, err, "  tokens                   %s\n",
                      gf_number_count(r->tokens).text));
    TRY(gf_buf_printf(out, err, "  trained tokens           %s (%.1f %%)\n",
                      gf_number_count(r->trained).text, share));
    TRY(gf_buf_printf(out, err,
                      "  length                   min %lld, median %lld, p90 %lld, p99 %lld, "
                      "max %lld\n",
                      (long long)r->min, (long long)r->median, (long long)r->p90, (long long)r->p99,
                      (long long)r->max));
    if (r->longest >= 0) {
        TRY(gf_buf_str(out, "  longest                  ", err));
        TRY(place(r->data, r->longest, out, err));
        TRY(gf_buf_str(out, "\n", err));
    }
    TRY(over_length(r, o, out, err));
    TRY(gf_buf_printf(out, err, "  duplicates               %s",
                      gf_number_count(r->duplicates).text));
    if (r->duplicate >= 0) {
        TRY(gf_buf_str(out, "; the first: ", err));
        TRY(place(r->data, r->duplicate, out, err));
        TRY(gf_buf_str(out, " is ", err));
        TRY(place(r->data, r->original, out, err));
    }
    TRY(gf_buf_printf(out, err, "\n  turns without end token  %s\n",
                      gf_number_count(r->no_end_token).text));
    return gf_buf_printf(out, err, "  turns, prompt no prefix  %s\n",
                         gf_number_count(r->prefix_mismatch).text);
}

/* ---- for machines --------------------------------------------------------------------- */

static gf_status json_place(gf_buf *out, const char *key, const gf_dataset *d, int64_t i,
                            gf_err *err)
{
    TRY(gf_buf_printf(out, err, ",\"%s\":", key));
    if (i < 0)
        return gf_buf_str(out, "null", err);
    const gf_example e = gf_dataset_at(d, i);
    TRY(gf_buf_str(out, "{\"file\":", err));
    TRY(gf_json_quote(out, e.file, strlen(e.file), err));
    return gf_buf_printf(out, err, ",\"line\":%lld}", (long long)e.line);
}

gf_status gf_data_report_json(const gf_data_report *r, gf_buf *out, gf_err *err)
{
    const struct {
        const char *key;
        int64_t value;
    } list[] = {
        {"examples", r->examples},
        {"tokens", r->tokens},
        {"trained_tokens", r->trained},
        {"length_min", r->min},
        {"length_median", r->median},
        {"length_p90", r->p90},
        {"length_p99", r->p99},
        {"length_max", r->max},
        {"max_length", r->max_length},
        {"over_length", r->over},
        {"dropped", r->dropped},
        {"truncated", r->truncated},
        {"duplicates", r->duplicates},
        {"turns_without_end_token", r->no_end_token},
        {"turns_prefix_mismatch", r->prefix_mismatch},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        TRY(gf_buf_printf(out, err, "%s\"%s\":%lld", i ? "," : "{", list[i].key,
                          (long long)list[i].value));
    TRY(json_place(out, "longest", r->data, r->longest, err));
    TRY(json_place(out, "first_duplicate", r->data, r->duplicate, err));
    return gf_buf_str(out, "}", err);
}
