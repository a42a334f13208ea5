/* data_twins.c - contract: data_twins.h. */
#include "cli/data_twins.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

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

static uint64_t hash_of(const gf_dataset *d, int64_t i, gf_twin_kind kind)
{
    const gf_example e = gf_dataset_at(d, i);
    const size_t bytes = (size_t)e.length * sizeof *e.ids;
    if (kind == GF_TWIN_TEXT)
        return e.text;
    const uint64_t ids = gf_hash_fast(GF_HASH_START, e.ids, bytes);
    return kind == GF_TWIN_IDS ? ids : gf_hash_fast(ids, e.labels, bytes);
}

static bool same(const gf_dataset *d, int64_t a, const gf_dataset *in, int64_t b, gf_twin_kind kind)
{
    const gf_example x = gf_dataset_at(d, a), y = gf_dataset_at(in, b);
    const size_t bytes = (size_t)x.length * sizeof *x.ids;
    if (kind == GF_TWIN_TEXT)
        return x.text == y.text;
    return x.length == y.length && memcmp(x.ids, y.ids, bytes) == 0 &&
           (kind == GF_TWIN_IDS || memcmp(x.labels, y.labels, bytes) == 0);
}

/* The first of the n sorted prints with this hash or a larger one. */
static int64_t lower_bound(const print *p, int64_t n, uint64_t hash)
{
    int64_t low = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        if (p[low + half].hash < hash) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

gf_status gf_twins_find(gf_twins *t, const gf_dataset *d, const gf_dataset *in, gf_twin_kind kind,
                        gf_err *err)
{
    const int64_t n = in->count;
    print *p = gf_alloc((size_t)n, sizeof *p, err);
    *t = (gf_twins){.first = -1, .other = -1};
    if (!p)
        return GF_ENOMEM;
    for (int64_t i = 0; i < n; i++)
        p[i] = (print){hash_of(in, i, kind), i};
    qsort(p, (size_t)n, sizeof *p, by_hash);
    for (int64_t i = 0; i < d->count; i++) {
        const uint64_t hash = hash_of(d, i, kind);
        int64_t k = lower_bound(p, n, hash);
        while (k < n && p[k].hash == hash && (d != in || p[k].index < i) &&
               !same(d, i, in, p[k].index, kind))
            k++;
        if (k == n || p[k].hash != hash || (d == in && p[k].index >= i))
            continue;
        if (t->count++ == 0) {
            t->first = i;
            t->other = p[k].index;
        }
    }
    free(p);
    return GF_OK;
}
