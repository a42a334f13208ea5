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
    held_out->example = gf_alloc((size_t)out, sizeof *held_out->example, err);
    if (!order || !held || !held_out->example) {
        st = GF_ENOMEM;
        goto out;
    }
    gf_rng_permute(order, n, seed, GF_RNG_SPLIT, 0);
    for (int64_t i = 0; i < out; i++)
        held[order[i]] = true;
    data->count = 0;
    for (int64_t i = 0; i < n; i++) {
        gf_dataset *to = held[i] ? held_out : data;
        to->example[to->count++] = data->example[i];
    }
    held_out->cap = out;
out:
    free(order);
    free(held);
    return st;
}
