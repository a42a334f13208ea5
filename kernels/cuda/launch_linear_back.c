/* launch_linear_back.c - see launch_linear.h. */
#include "launch_linear.h"

#include <stdio.h>

/* Columns of dy from which on slices are as wide as a block's registers hold. Below, half of it:
 * with 8 chunks of tokens, 4096 columns are 128 blocks. */
#define MANY_COLUMNS 8192

static int64_t blocks(int64_t n, int64_t each)
{
    return (n + each - 1) / each;
}

/* Rows begin at multiples of 16 bytes. */
static bool aligned(gf_tensor t)
{
    return (uintptr_t)t.data % 16 == 0 && gf_row_bytes(t.dtype, t.stride) % 16 == 0;
}

/* The ranks a kernel must have for a layer's, which begin at `first`; copies want them aligned. */
static int64_t span_of(int64_t first, int64_t ranks)
{
    return first % GF_LORA_RANK_STEP + ranks;
}

gf_linear_cut gf_cuda_linear_cut(gf_tensor dx, gf_tensor dy, gf_tensor s, const gf_group *g)
{
    const gf_linear_cut none = {0};
    int64_t rank = 0, span = 0;
    if (!gf_is(dx) || dy.dtype != GF_BF16 || !aligned(dx) || !gf_is(s) || !aligned(s))
        return none;
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        if (gf_is(lin->a) && !gf_is(lin->da))
            return none; /* its P is wanted, its dB is not */
        if (!gf_is(lin->a))
            continue;
        const int64_t own = span_of(rank, lin->a.dim[0]);
        span = own > span ? own : span;
        rank += lin->a.dim[0];
    }
    if (rank == 0 || span > GF_LORA_BACK_MOST)
        return none;
    gf_linear_cut cut = {.each = span <= 16 ? 16 : 32, .slice = GF_LORA_SLICE};
    /* with more ranks, narrower slices would cost half of what reading dy again does */
    if (cut.each == 16 && gf_group_n(g) < MANY_COLUMNS)
        cut.slice /= 2;
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].a))
            cut.slices += blocks(g->lin[i].w.dim[0], cut.slice);
    const int64_t bytes = cut.slices * cut.each * (int64_t)sizeof(float);
    return bytes <= gf_row_bytes(dx.dtype, dx.dim[1]) ? cut : none;
}

int64_t gf_cuda_linear_partials(gf_tensor dx, gf_tensor dy, gf_tensor s, const gf_group *g)
{
    const gf_linear_cut cut = gf_cuda_linear_cut(dx, dy, s, g);
    return dy.dim[0] * cut.slices * cut.each * (int64_t)sizeof(float);
}

static gf_status add_slices(gf_backend *be, const gf_lora_back *back, const gf_lora_product *p,
                            gf_linear_cut cut)
{
    gf_lora_partials sum = {.part = back->part,
                            .part_stride = back->part_stride,
                            .tail = p->tail,
                            .tail_stride = p->tail_stride,
                            .copy = p->copy,
                            .copy_stride = p->copy_stride,
                            .work = p->work,
                            .rows = p->rows,
                            .rank = p->rank,
                            .room = p->room,
                            .each = (int32_t)cut.each};
    int32_t slice = 0;
    for (int i = 0; i < p->parts; i++) {
        const gf_lora_part part = p->part[i];
        const int32_t slices = (int32_t)blocks(part.k, cut.slice);
        sum.layer[i] = (gf_lora_slices){part.first, part.last, slice, slices, p->scale[i]};
        slice += slices;
    }
    const gf_dim threads = {GF_LORA_THREADS, 1, 1};
    const gf_dim grid = {(unsigned)blocks((int64_t)p->rows * (p->room / 4), GF_LORA_THREADS), 1, 1};
    return GF_LAUNCH(be, "lora_back", "lora_back_sum_bf16", grid, threads, 0, &sum);
}

gf_status gf_cuda_linear_back(gf_backend *be, gf_lora_back *back, const gf_lora_product *p,
                              gf_tensor dx, gf_linear_cut cut, unsigned chunks)
{
    char name[32];
    const gf_dim grid = {(unsigned)cut.slices, chunks, 1}, threads = {GF_LORA_THREADS, 1, 1};
    const size_t shared = GF_LORA_BACK_SHARED((size_t)cut.each, (size_t)cut.slice);
    for (int i = 0; i < p->parts; i++)
        back->grads.job[i].tiles = (int32_t)blocks(back->grads.job[i].width, cut.slice);
    back->b = p->small;
    back->b_stride = p->small_stride;
    back->slice = (int32_t)cut.slice;
    back->part = dx.data;
    back->part_stride = gf_row_bytes(dx.dtype, dx.stride) / (int64_t)sizeof(float);
    (void)snprintf(name, sizeof name, "lora_back_bf16_%d", (int)cut.each);
    TRY(GF_LAUNCH(be, "lora_back", name, grid, threads, shared, back));
    return add_slices(be, back, p, cut);
}
