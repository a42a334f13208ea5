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
    *held_out = (gf_dataset){.store = data->store,
                             .source = data->source,
                             .source_count = data->source_count,
                             .borrows = true,
                             .cap = out};
    held_out->entry = gf_alloc((size_t)out, sizeof *held_out->entry, err);
    if (!order || !held || !held_out->entry) {
        st = GF_ENOMEM;
        goto out;
    }
    gf_rng_permute(order, n, seed, GF_RNG_SPLIT, 0);
    for (int64_t i = 0; i < out; i++)
        held[order[i]] = true;
    data->count = 0;
    for (int64_t i = 0; i < n; i++) {
        gf_dataset *to = held[i] ? held_out : data;
        if (held[i] && data->source_count > 0)
            data->source[data->entry[i].source].examples--;
        to->entry[to->count++] = data->entry[i];
    }
out:
    free(order);
    free(held);
    return st;
}
