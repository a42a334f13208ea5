/* gemm_stage.c - contract: gemm_stage.h. */
#include "gemm_stage.h"

/* Words of k in a block, whole chains: a panel of A of 27 KiB is half of an L1; with a few rows
 * there is nothing but B, and f32 takes what fits. */
static int64_t block_words(const gf_gemm_plan *p)
{
    return p->g->m <= GF_FEW && p->word != GF_WORD_PAIR ? 960 : 576;
}

/* ---- blocks of k ---------------------------------------------------------------------- */

static int segment_of(const gf_gemm_group *group, int part)
{
    for (int s = 0; s < group->segments; s++)
        if (group->segment[s].part == part)
            return s;
    return -1;
}

static bool part_is_masked(const gf_gemm *g, int part)
{
    const int s = segment_of(&g->group[0], part);
    return s >= 0 && g->group[0].segment[s].mask;
}

/* Parts are laid end to end in stretches; one whose product is masked stands alone. */
static int stretch_parts(const gf_gemm *g, int first)
{
    int n = 1;
    if (!part_is_masked(g, first))
        while (first + n < g->parts && !part_is_masked(g, first + n))
            n++;
    return n;
}

bool GF_CPU(next_block)(const gf_gemm_plan *p, gf_gemm_block *b)
{
    int64_t total = 0;
    if (b->parts == 0) {
        b->first = true;
    } else {
        b->first = false;
        if (b->last)
            return false;
    }
    if (b->parts) {
        for (int i = 0; i < b->parts; i++)
            total += p->words[b->first_part + i];
        b->begin = b->end;
        if (b->begin == total) {
            b->first_part += b->parts;
            b->parts = 0;
        }
    }
    if (b->parts == 0) {
        b->parts = stretch_parts(p->g, b->first_part);
        b->begin = 0;
        total = 0;
        for (int i = 0; i < b->parts; i++)
            total += p->words[b->first_part + i];
    }
    /* About equal blocks, cut where chains end: how a product is cut then shows in no bit. */
    const int64_t most = block_words(p), chain = gf_chain(p->word == GF_WORD_PAIR);
    const int64_t count = (total + most - 1) / most;
    const int64_t size = count ? ((total + count - 1) / count + chain - 1) / chain * chain : 0;
    b->end = b->begin + size < total ? b->begin + size : total;
    b->last = b->end == total && b->first_part + b->parts == p->g->parts;
    b->masked_segment =
        part_is_masked(p->g, b->first_part) ? segment_of(&p->g->group[0], b->first_part) : -1;
    return true;
}

bool GF_CPU(part_in_block)(const gf_gemm_plan *p, const gf_gemm_block *b, int part, int64_t *begin,
                           int64_t *end, int64_t *k0, int64_t *k)
{
    if (part < b->first_part || part >= b->first_part + b->parts)
        return false;
    int64_t start = 0; /* of the part in the stretch */
    for (int i = b->first_part; i < part; i++)
        start += p->words[i];
    const int64_t low = start > b->begin ? start : b->begin;
    const int64_t stop = start + p->words[part];
    const int64_t high = stop < b->end ? stop : b->end;
    if (low >= high)
        return false;
    const int64_t per = p->word == GF_WORD_PAIR ? 2 : 1;
    const int64_t len = p->g->part[part].k;
    *begin = low - b->begin;
    *end = high - b->begin;
    *k0 = (low - start) * per;
    *k = (high - start) * per < len ? (high - low) * per : len - *k0;
    return true;
}

/* ---- stages --------------------------------------------------------------------------- */

bool GF_CPU(next_stage)(const gf_gemm_plan *p, int64_t first, int64_t count, gf_gemm_stage *s)
{
    const bool start = s->k.parts == 0;
    bool fresh = start;
    int64_t at =
        start ? first : p->group_strip[s->group] + (s->n0 + s->n + GF_STRIP - 1) / GF_STRIP;
    if (at >= first + count) {
        at = first;
        fresh = true;
    }
    s->n = 0;
    if (fresh && !GF_CPU(next_block)(p, &s->k))
        return false;
    for (s->group = 0; at >= p->group_strip[s->group + 1];)
        s->group++;
    int64_t end = p->group_strip[s->group + 1];
    end = end < first + count ? end : first + count;
    const int64_t strips = end - at < GF_PACK_STRIPS ? end - at : GF_PACK_STRIPS;
    s->n0 = (at - p->group_strip[s->group]) * GF_STRIP;
    s->n = p->g->group[s->group].n - s->n0;
    s->n = s->n < strips * GF_STRIP ? s->n : strips * GF_STRIP;
    return fresh;
}
