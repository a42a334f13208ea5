/* The examples of a data set in memory, and how many of them an epoch takes. */
#include "text/dataset.h"

#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <utf8proc.h>

gf_example gf_dataset_at(const gf_dataset *d, int64_t i)
{
    const gf_data_entry *e = &d->entry[i];
    int32_t *ids = d->store == NULL ? NULL : gf_token_store_at(d->store, e->at);
    return (gf_example){.ids = ids,
                        .labels = ids == NULL ? NULL : ids + e->length,
                        .length = e->length,
                        .trained = e->trained,
                        .file = d->source_count > 0 ? d->source[e->source].path : "",
                        .line = e->line,
                        .text = e->text};
}

gf_status gf_dataset_add_file(gf_dataset *d, const char *path, gf_err *err)
{
    gf_data_file *p = gf_realloc(d->source, (size_t)d->source_count + 1, sizeof *p, err);
    if (p == NULL)
        return GF_ENOMEM;
    d->source = p;
    p += d->source_count;
    *p = (gf_data_file){.path = gf_strdup(path, err), .weight = 1};
    if (p->path == NULL)
        return GF_ENOMEM;
    d->source_count++;
    if (d->store == NULL)
        d->store = gf_alloc(1, sizeof *d->store, err);
    return d->store == NULL ? GF_ENOMEM : GF_OK;
}

gf_status gf_dataset_add(gf_dataset *d, const gf_example *e, gf_err *err)
{
    if (e->length > INT32_MAX || e->line > INT32_MAX)
        return gf_fail(err, GF_EINPUT, "%s:%lld: more than %d tokens or lines", e->file,
                       (long long)e->line, INT32_MAX);
    if (d->count == d->cap) {
        const int64_t cap = d->cap == 0 ? 64 : d->cap * 2;
        gf_data_entry *p = gf_realloc(d->entry, (size_t)cap, sizeof *p, err);
        if (p == NULL)
            return GF_ENOMEM;
        d->entry = p;
        d->cap = cap;
    }
    gf_data_entry *to = &d->entry[d->count];
    *to = (gf_data_entry){.text = e->text,
                          .length = (int32_t)e->length,
                          .trained = (int32_t)e->trained,
                          .line = (int32_t)e->line,
                          .source = d->source_count - 1};
    TRY(gf_token_store_add(d->store, e->ids, e->labels, e->length, &to->at, err));
    d->count++;
    d->source[to->source].examples++;
    return GF_OK;
}

void gf_dataset_free(gf_dataset *d)
{
    free(d->entry);
    for (int i = 0; i < d->source_count && !d->borrows; i++)
        free(d->source[i].path);
    if (!d->borrows && d->store != NULL)
        gf_token_store_free(d->store);
    if (!d->borrows)
        free(d->store);
    free(d->source);
    *d = (gf_dataset){0};
}

/* ---- weights ----------------------------------------------------------------------- */

gf_status gf_dataset_weigh(gf_dataset *d, const double *weight, int count, gf_err *err)
{
    if (count != d->source_count)
        return gf_fail(err, GF_EARG, "%d weights for %d data files", count, d->source_count);
    for (int i = 0; i < count; i++) {
        d->source[i].weight = weight[i];
        d->weighted |= weight[i] != 1;
    }
    return GF_OK;
}

int64_t gf_dataset_share(double weight, int64_t n)
{
    const int64_t share = llround(weight * (double)n);
    return n == 0 || share > 0 ? share : 1;
}

int64_t gf_dataset_epoch(const gf_dataset *d)
{
    int64_t n = 0;
    if (!d->weighted)
        return d->count;
    for (int i = 0; i < d->source_count; i++)
        n += gf_dataset_share(d->source[i].weight, d->source[i].examples);
    return n;
}

void gf_dataset_tokens(const gf_dataset *d, int64_t *tokens, int64_t *trained)
{
    double all = 0, some = 0; /* exact below 2^53 where the weights are 1 */
    for (int64_t i = 0; i < d->count; i++) {
        const gf_data_entry *e = &d->entry[i];
        double w = 1;
        if (d->weighted) {
            const gf_data_file *f = &d->source[e->source];
            w = (double)gf_dataset_share(f->weight, f->examples) / (double)f->examples;
        }
        all += w * e->length;
        some += w * e->trained;
    }
    *tokens = llround(all);
    *trained = llround(some);
}

int64_t gf_dataset_longest(const gf_dataset *d)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < d->count; i++)
        longest = d->entry[i].length > longest ? d->entry[i].length : longest;
    return longest;
}

/* ---- equal texts ------------------------------------------------------------------- */

uint64_t gf_loose_hash(const char *text, size_t size)
{
    uint64_t h = GF_HASH_START;
    bool space = false, begun = false;
    for (size_t i = 0; i < size;) {
        utf8proc_int32_t c = (unsigned char)text[i];
        utf8proc_ssize_t n = 1;
        if (c >= 0x80)
            n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i),
                                 &c);
        if (n <= 0) {
            n = 1;
            c = (unsigned char)text[i];
        }
        i += (size_t)n;
        if (c <= ' ') {
            space = begun;
            continue;
        }
        if (space)
            h = gf_hash_fast(h, " ", 1);
        space = false;
        begun = true;
        if (c >= 0x80)
            c = utf8proc_tolower(c);
        else if (c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        h = gf_hash_fast(h, &c, c < 0x80 ? 1 : sizeof c); /* little-endian, as all of graft */
    }
    return h;
}
