/* loader.c - see loader.h. */
#include "train/loader.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

gf_status gf_loader_open(gf_loader *ld, const gf_dataset *data, int64_t batch, uint64_t seed,
                         bool shuffle, int rank, int ranks, gf_err *err)
{
    *ld = (gf_loader){.data = data,
                      .batch = batch,
                      .seed = seed,
                      .shuffle = shuffle,
                      .rank = rank,
                      .ranks = ranks,
                      .count = gf_dataset_epoch(data),
                      .epoch = -1};
    ld->steps_per_epoch = (ld->count + batch - 1) / batch;
    ld->order = gf_alloc((size_t)ld->count, sizeof *ld->order, err);
    if (data->weighted) {
        const int64_t most = ld->count > data->count ? ld->count : data->count;
        ld->drawn = gf_alloc((size_t)most, sizeof *ld->drawn, err);
    }
    ld->pick = gf_alloc((size_t)batch, sizeof *ld->pick, err);
    ld->row = gf_alloc((size_t)batch + 1, sizeof *ld->row, err);
    ld->load = gf_alloc((size_t)ranks, sizeof *ld->load, err);
    if (ld->order && ld->pick && ld->row && ld->load && (ld->drawn || !data->weighted))
        return GF_OK;
    gf_loader_close(ld);
    return GF_ENOMEM;
}

void gf_loader_close(gf_loader *ld)
{
    free(ld->order);
    free(ld->drawn);
    free(ld->pick);
    free(ld->row);
    free(ld->load);
    *ld = (gf_loader){0};
}

static int by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Appends the epoch's share of a source, n examples from `first` on, to the order. */
static int64_t add_share(gf_loader *ld, int64_t at, int source, int64_t first, int64_t n)
{
    const int64_t share = gf_dataset_share(ld->data->source[source].weight, n);
    const int64_t rest = n > 0 ? share % n : 0;
    for (int64_t i = 0; i < share - rest; i++)
        ld->order[at + i] = first + i % n;
    if (rest == 0)
        return share;
    /* each (epoch, source) has a draw of its own */
    const uint64_t sub = (uint64_t)ld->epoch * (uint64_t)ld->data->source_count + (uint64_t)source;
    gf_rng_permute(ld->drawn, n, ld->seed, GF_RNG_SHARE, sub);
    qsort(ld->drawn, (size_t)rest, sizeof *ld->drawn, by_number);
    for (int64_t i = 0; i < rest; i++)
        ld->order[at + share - rest + i] = first + ld->drawn[i];
    return share;
}

/* The examples of a source stand together in a data set. */
static void set_weighted(gf_loader *ld, bool shuffle)
{
    int64_t at = 0, first = 0;
    for (int s = 0; s < ld->data->source_count; s++) {
        at += add_share(ld, at, s, first, ld->data->source[s].examples);
        first += ld->data->source[s].examples;
    }
    if (!shuffle)
        return;
    gf_rng_permute(ld->drawn, ld->count, ld->seed, GF_RNG_SHUFFLE, (uint64_t)ld->epoch);
    for (int64_t i = 0; i < ld->count; i++)
        ld->drawn[i] = ld->order[ld->drawn[i]];
    memcpy(ld->order, ld->drawn, (size_t)ld->count * sizeof *ld->order);
}

static void set_epoch(gf_loader *ld, int64_t epoch, bool shuffle)
{
    if (epoch == ld->epoch)
        return;
    ld->epoch = epoch;
    if (ld->data->weighted)
        set_weighted(ld, shuffle);
    else if (shuffle)
        gf_rng_permute(ld->order, ld->count, ld->seed, GF_RNG_SHUFFLE, (uint64_t)epoch);
    else
        for (int64_t i = 0; i < ld->count; i++)
            ld->order[i] = i;
}

static int64_t length_of(const gf_loader *ld, int64_t example)
{
    return ld->data->entry[example].length;
}

/* Falling length, then rising number. */
static int by_length(const void *a, const void *b, void *loader)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    const int64_t lx = length_of(loader, x), ly = length_of(loader, y);
    return lx != ly ? (lx < ly) - (lx > ly) : (x > y) - (x < y);
}

/* The examples of step `index` of the epoch, longest first, into pick; returns their number. */
static int64_t take(gf_loader *ld, int64_t index)
{
    const int64_t first = index * ld->batch, rest = ld->count - first;
    const int64_t n = rest < ld->batch ? rest : ld->batch;
    memcpy(ld->pick, ld->order + first, (size_t)n * sizeof *ld->pick);
    qsort_r(ld->pick, (size_t)n, sizeof *ld->pick, by_length, ld);
    return n;
}

/* Longest first to the rank with the fewest tokens (Graham 1969). Keeps this rank's in pick. */
static int64_t deal(gf_loader *ld, int64_t n)
{
    int64_t kept = 0;
    memset(ld->load, 0, (size_t)ld->ranks * sizeof *ld->load);
    for (int64_t i = 0; i < n; i++) {
        int to = 0;
        for (int r = 1; r < ld->ranks; r++)
            if (ld->load[r] < ld->load[to])
                to = r;
        ld->load[to] += length_of(ld, ld->pick[i]);
        if (to == ld->rank)
            ld->pick[kept++] = ld->pick[i];
    }
    return kept;
}

/* First fit by falling length; `pick` is reordered so that each row's examples stand together. */
static void lay_rows(gf_loader *ld, int64_t n, int64_t capacity)
{
    int64_t at = 0;
    ld->rows = 0;
    while (at < n) {
        const int64_t shortest = length_of(ld, ld->pick[n - 1]);
        int64_t room = capacity, end = at;
        for (int64_t i = at; i < n && room >= shortest; i++) {
            const int64_t x = ld->pick[i];
            if (length_of(ld, x) > room)
                continue;
            room -= length_of(ld, x);
            memmove(&ld->pick[end + 1], &ld->pick[end], (size_t)(i - end) * sizeof *ld->pick);
            ld->pick[end++] = x;
        }
        assert(end > at); /* the caller has checked that every example fits a row */
        ld->row[ld->rows++] = at;
        at = end;
    }
    ld->row[ld->rows] = n;
}

static void lay(gf_loader *ld, int64_t index, int64_t capacity)
{
    lay_rows(ld, deal(ld, take(ld, index)), capacity);
}

void gf_loader_step(gf_loader *ld, int64_t step, int64_t capacity)
{
    set_epoch(ld, step / ld->steps_per_epoch, ld->shuffle);
    lay(ld, step % ld->steps_per_epoch, capacity);
}

void gf_loader_part(gf_loader *ld, int64_t part, int64_t capacity)
{
    set_epoch(ld, 0, false);
    lay(ld, part, capacity);
}

int64_t gf_loader_most_tokens(gf_loader *ld, int64_t steps)
{
    int64_t most = 0;
    for (int64_t s = 0; s < steps; s++) {
        set_epoch(ld, s / ld->steps_per_epoch, ld->shuffle);
        deal(ld, take(ld, s % ld->steps_per_epoch));
        for (int r = 0; r < ld->ranks; r++)
            most = ld->load[r] > most ? ld->load[r] : most;
    }
    return most;
}
