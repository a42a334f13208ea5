/* split.c - see split.h. */
#include "train/split.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

gf_status gf_split(gf_dataset *data, gf_dataset *held_out, double share, uint64_t seed, gf_err *err)
{
    const int64_t n = data->count;
    int64_t out = (int64_t)llround(share * (double)n);
    out = out > 0 ? out : 1;
    if (out >= n)
        return gf_fail(err, GF_EARG, "--eval-split %g leaves none of %lld examples to train on",
                       share, (long long)n);
    gf_status st = GF_OK;
    int64_t *order = gf_alloc((size_t)n, sizeof *order, err);
    bool *held = gf_alloc((size_t)n, sizeof *held, err);
    *held_out = (gf_dataset){
        .store = data->store, .source_count = data->source_count, .borrows = true, .cap = out};
    held_out->entry = gf_alloc((size_t)out, sizeof *held_out->entry, err);
    held_out->source = gf_alloc((size_t)data->source_count, sizeof *held_out->source, err);
    if (!order || !held || !held_out->entry || !held_out->source) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < data->source_count; i++) {
        held_out->source[i] = data->source[i];
        held_out->source[i].examples = 0;
        held_out->source[i].dropped = held_out->source[i].truncated = 0; /* data's tell of them */
    }
    gf_rng_permute(order, n, seed, GF_RNG_SPLIT, 0);
    for (int64_t i = 0; i < out; i++)
        held[order[i]] = true;
    data->count = 0;
    for (int64_t i = 0; i < n; i++) {
        gf_dataset *to = held[i] ? held_out : data;
        if (held[i] && data->source_count > 0) {
            data->source[data->entry[i].source].examples--;
            held_out->source[data->entry[i].source].examples++;
        }
        to->entry[to->count++] = data->entry[i];
    }
out:
    free(order);
    free(held);
    return st;
}

/* ---- equal texts on one side --------------------------------------------------------- */

static int by_text(const void *a, const void *b, void *data)
{
    const gf_data_entry *entry = ((const gf_dataset *)data)->entry;
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    if (entry[x].text != entry[y].text)
        return entry[x].text < entry[y].text ? -1 : 1;
    return (x > y) - (x < y);
}

/* How many examples share the text of sorted[at]; 0 unless it is the first of them. */
static int64_t group_size(const gf_dataset *d, const int64_t *sorted, int64_t at)
{
    const uint64_t text = d->entry[sorted[at]].text;
    int64_t end = at + 1;
    if (at > 0 && d->entry[sorted[at - 1]].text == text)
        return 0;
    while (end < d->count && d->entry[sorted[end]].text == text)
        end++;
    return end - at;
}

gf_status gf_split_choose(bool *held, int64_t *out, const gf_dataset *data, double share,
                          uint64_t seed, gf_err *err)
{
    const int64_t n = data->count;
    const int64_t want = llround(share * (double)n);
    int64_t left = want > 0 ? want : 1;
    gf_status st = GF_OK;
    int64_t *sorted = gf_alloc((size_t)n, sizeof *sorted, err);
    int64_t *order = gf_alloc((size_t)n, sizeof *order, err);
    if (!sorted || !order) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        sorted[i] = i;
        held[i] = false;
    }
    qsort_r(sorted, (size_t)n, sizeof *sorted, by_text, (void *)(uintptr_t)data);
    gf_rng_permute(order, n, seed, GF_RNG_SPLIT, 0);
    *out = 0;
    for (int64_t k = 0; k < n && left > 0; k++) {
        const int64_t size = group_size(data, sorted, order[k]);
        if (size > left)
            continue;
        for (int64_t i = order[k]; i < order[k] + size; i++)
            held[sorted[i]] = true;
        left -= size;
        *out += size;
    }
    if (*out == 0 || *out == n)
        st = gf_fail(err, GF_EINPUT,
                     "%s: a share of %g of %lld examples, equal texts on one side, leaves %s",
                     data->source_count > 0 ? data->source[0].path : "the data", share,
                     (long long)n, *out == 0 ? "none to hold out" : "none to train on");
out:
    free(sorted);
    free(order);
    return st;
}
