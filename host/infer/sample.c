/* sample.c - one draw from the logits. Contract: infer/generate.h. */
#include "infer/generate.h"

#include <assert.h>
#include <math.h>

#include "base/rng.h"

static int32_t largest(const float *logits, int64_t V)
{
    int64_t best = 0;
    for (int64_t i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

static bool before(gf_candidate a, gf_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* heap[0, n): each is before its children, but for heap[at]. */
static void sift(gf_candidate *heap, int64_t n, int64_t at)
{
    const gf_candidate c = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], c))
            break;
        heap[at] = heap[child];
    }
    heap[at] = c;
}

/* Candidates in falling order, sorted only as far as somebody asks: those handed out stand behind
 * the heap, the likeliest last. */
typedef struct {
    gf_candidate *c;
    int64_t total, sorted;
} gf_ranking;

static gf_candidate ranked(gf_ranking *r, int64_t i)
{
    while (r->sorted <= i) {
        const int64_t last = r->total - 1 - r->sorted;
        const gf_candidate top = r->c[0];
        r->c[0] = r->c[last];
        r->c[last] = top;
        sift(r->c, last, 0);
        r->sorted++;
    }
    return r->c[r->total - 1 - i];
}

static gf_ranking rank(const float *logits, int64_t V, gf_candidate *scratch)
{
    for (int64_t i = 0; i < V; i++)
        scratch[i] = (gf_candidate){logits[i], (int32_t)i};
    for (int64_t i = V / 2 - 1; i >= 0; i--)
        sift(scratch, V, i);
    return (gf_ranking){.c = scratch, .total = V};
}

int32_t gf_sample(const float *logits, int64_t V, const gf_sampling *s, uint64_t index,
                  gf_candidate *scratch)
{
    assert(V > 0 && s->temperature >= 0);
    if (s->temperature == 0)
        return largest(logits, V);
    gf_ranking r = rank(logits, V, scratch);
    const double top = ranked(&r, 0).logit;
    int64_t kept = s->top_k > 0 && s->top_k < V ? s->top_k : V;

    double mass = 0; /* of the kept ones, the likeliest counting as 1 */
    for (int64_t i = 0; i < kept; i++) {
        const double z = kept < V ? ranked(&r, i).logit : logits[i];
        mass += exp((z - top) / s->temperature);
    }
    if (s->top_p < 1) {
        const double goal = s->top_p * mass;
        double sum = 0;
        int64_t n = 0;
        while (n < kept && sum < goal)
            sum += exp((ranked(&r, n++).logit - top) / s->temperature);
        kept = n > 0 ? n : 1;
        mass = sum;
    }
    double left = gf_rng_double(s->seed, GF_RNG_SAMPLE, 0, index) * mass;
    int32_t id = ranked(&r, 0).id;
    for (int64_t i = 0; i < kept; i++) {
        const gf_candidate c = ranked(&r, i);
        const double p = exp((c.logit - top) / s->temperature);
        if (p == 0) /* only rounding of the sums leads here; what cannot be drawn is not */
            break;
        id = c.id;
        left -= p;
        if (left < 0)
            break;
    }
    return id;
}
