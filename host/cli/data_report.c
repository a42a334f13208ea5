/* data_report.c - contract: data_report.h. */
#include "cli/data_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/number.h"

static int by_length(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
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

/* Buckets of a width that is a power of two: the narrowest with which they are enough. */
static void fill_buckets(gf_data_report *r, const gf_dataset *d)
{
    r->width = 1;
    while ((r->max - 1) / r->width >= GF_LENGTH_BUCKETS)
        r->width *= 2;
    r->buckets = r->max > 0 ? (int)((r->max - 1) / r->width) + 1 : 0;
    for (int64_t i = 0; i < d->count; i++)
        r->bucket[(d->entry[i].length - 1) / r->width]++;
}

gf_status gf_data_report_make(gf_data_report *r, const gf_dataset *d, const gf_dataset *train,
                              int64_t max_length, gf_err *err)
{
    *r = (gf_data_report){.examples = d->count,
                          .data = d,
                          .longest = -1,
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
    fill_buckets(r, d);
    TRY(gf_twins_find(&r->same, d, d, GF_TWIN_LABELS, err));
    TRY(gf_twins_find(&r->same_text, d, d, GF_TWIN_TEXT, err));
    if (!train)
        return GF_OK;
    r->train = train;
    TRY(gf_twins_find(&r->overlap, d, train, GF_TWIN_IDS, err));
    return gf_twins_find(&r->overlap_text, d, train, GF_TWIN_TEXT, err);
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

static gf_status twins(const gf_data_report *r, const char *what, const gf_twins *t,
                       const gf_dataset *in, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_printf(out, err, "  %-24s %s", what, gf_number_count(t->count).text));
    if (t->count > 0) {
        TRY(gf_buf_str(out, "; the first: ", err));
        TRY(place(r->data, t->first, out, err));
        TRY(gf_buf_str(out, " is ", err));
        TRY(place(in, t->other, out, err));
    }
    return gf_buf_str(out, "\n", err);
}

static const char *how(const gf_data_file *f)
{
    if (f->format != GF_DATA_ALPACA)
        return "";
    return f->alpaca_text ? " with Alpaca's prompt" : " as chats (--alpaca-prompt text: its own)";
}

/* The files, and how their records were read. */
static gf_status sources(const gf_data_report *r, gf_buf *out, gf_err *err)
{
    const gf_dataset *d = r->data;
    for (int i = 0; i < d->source_count; i++) {
        const gf_data_file *f = &d->source[i];
        TRY(gf_buf_printf(out, err, "  %s: %s%s, %s examples", f->path,
                          gf_data_format_name(f->format), how(f),
                          gf_number_count(f->examples).text));
        if (d->weighted)
            TRY(gf_buf_printf(out, err, ", weight %g: %s an epoch", f->weight,
                              gf_number_count(gf_dataset_share(f->weight, f->examples)).text));
        if (f->dropped || f->truncated)
            TRY(gf_buf_printf(out, err, ", %lld dropped, %lld truncated", (long long)f->dropped,
                              (long long)f->truncated));
        TRY(gf_buf_str(out, "\n", err));
    }
    return GF_OK;
}

/* "  LOW-HIGH  COUNT ####": a bar for each range of lengths, the longest as wide as there is room.
 */
static gf_status histogram(const gf_data_report *r, int columns, gf_buf *out, gf_err *err)
{
    enum {
        BEFORE = 29,
        WIDEST = 120
    }; /* the columns before a bar; a bar longer than that is noise */
    int64_t most = 1;
    const int room = columns - BEFORE - 1 < WIDEST ? columns - BEFORE - 1 : WIDEST;
    for (int i = 0; i < r->buckets; i++)
        most = r->bucket[i] > most ? r->bucket[i] : most;
    int first = 0; /* nothing is shorter than the shortest example */
    while (first < r->buckets && r->bucket[first] == 0)
        first++;
    for (int i = first; i < r->buckets; i++) {
        char range[48]; /* two numbers */
        const int64_t from = i * r->width + 1;
        if (r->width > 1)
            snprintf(range, sizeof range, "%lld-%lld", (long long)from,
                     (long long)(from + r->width - 1));
        else
            snprintf(range, sizeof range, "%lld", (long long)from);
        TRY(gf_buf_printf(out, err, r->bucket[i] ? "  %15s %10s " : "  %15s %10s", range,
                          gf_number_count(r->bucket[i]).text));
        const int64_t bar = (int64_t)((double)r->bucket[i] / (double)most * room + 0.5);
        for (int64_t k = r->bucket[i] > 0 && bar < 1 ? 0 : 1; k <= bar; k++)
            TRY(gf_buf_str(out, "#", err));
        TRY(gf_buf_str(out, "\n", err));
    }
    return GF_OK;
}

gf_status gf_data_report_text(const gf_data_report *r, const gf_options *o, const char *name,
                              int columns, gf_buf *out, gf_err *err)
{
    const double share = r->tokens ? 100.0 * (double)r->trained / (double)r->tokens : 0;
    TRY(gf_buf_printf(out, err, "%s\n", name));
    TRY(gf_buf_printf(out, err, "  examples                 %s\n",
                      gf_number_count(r->examples).text));
    if (r->data->weighted)
        TRY(gf_buf_printf(out, err, "  examples of an epoch     %s\n",
                          gf_number_count(gf_dataset_epoch(r->data)).text));
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
    TRY(twins(r, "duplicates", &r->same, r->data, out, err));
    TRY(twins(r, "the same but for case", &r->same_text, r->data, out, err));
    if (r->train) {
        TRY(twins(r, "also in the data", &r->overlap, r->train, out, err));
        TRY(twins(r, "... but for case", &r->overlap_text, r->train, out, err));
    }
    TRY(gf_buf_printf(out, err, "  near-empty answers       %s",
                      gf_number_count(r->data->short_answers).text));
    if (r->data->short_answers > 0)
        TRY(gf_buf_printf(out, err, " of at most %d tokens; the first: %s:%lld", GF_SHORT_ANSWER,
                          r->data->short_file, (long long)r->data->short_line));
    TRY(gf_buf_printf(out, err, "\n  turns without end token  %s\n",
                      gf_number_count(r->no_end_token).text));
    TRY(gf_buf_printf(out, err, "  turns, prompt no prefix  %s%s\n",
                      gf_number_count(r->prefix_mismatch).text,
                      r->prefix_mismatch ? "; the template shows an earlier turn in another way "
                                           "than a last one: trained from where they part"
                                         : ""));
    TRY(sources(r, out, err));
    return histogram(r, columns, out, err);
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

static gf_status json_buckets(const gf_data_report *r, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_str(out, ",\"length_histogram\":[", err));
    for (int i = 0; i < r->buckets; i++)
        TRY(gf_buf_printf(out, err, "%s{\"from\":%lld,\"to\":%lld,\"examples\":%lld}", i ? "," : "",
                          (long long)(i * r->width + 1), (long long)((i + 1) * r->width),
                          (long long)r->bucket[i]));
    return gf_buf_str(out, "]", err);
}

static gf_status json_sources(const gf_data_report *r, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_str(out, ",\"files\":[", err));
    for (int i = 0; i < r->data->source_count; i++) {
        const gf_data_file *f = &r->data->source[i];
        TRY(gf_buf_str(out, i ? ",{\"file\":" : "{\"file\":", err));
        TRY(gf_json_quote(out, f->path, strlen(f->path), err));
        TRY(gf_buf_printf(out, err, ",\"format\":\"%s\",\"examples\":%lld,\"weight\":",
                          gf_data_format_name(f->format), (long long)f->examples));
        TRY(gf_json_number(out, f->weight, err));
        TRY(gf_buf_printf(out, err,
                          ",\"examples_per_epoch\":%lld,\"dropped\":%lld,\"truncated\":%lld}",
                          (long long)gf_dataset_share(f->weight, f->examples),
                          (long long)f->dropped, (long long)f->truncated));
    }
    return gf_buf_str(out, "]", err);
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
        {"examples_per_epoch", gf_dataset_epoch(r->data)},
        {"duplicates", r->same.count},
        {"duplicates_text", r->same_text.count},
        {"near_empty_answers", r->data->short_answers},
        {"turns_without_end_token", r->no_end_token},
        {"turns_prefix_mismatch", r->prefix_mismatch},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        TRY(gf_buf_printf(out, err, "%s\"%s\":%lld", i ? "," : "{", list[i].key,
                          (long long)list[i].value));
    TRY(json_place(out, "longest", r->data, r->longest, err));
    TRY(json_place(out, "first_duplicate", r->data, r->same.first, err));
    if (r->train) {
        TRY(gf_buf_printf(out, err, ",\"overlap\":%lld,\"overlap_text\":%lld",
                          (long long)r->overlap.count, (long long)r->overlap_text.count));
        TRY(json_place(out, "first_overlap", r->data, r->overlap.first, err));
    }
    TRY(json_buckets(r, out, err));
    TRY(json_sources(r, out, err));
    return gf_buf_str(out, "}", err);
}
