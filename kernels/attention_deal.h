/* attention_deal.h - which thread computes which part of attention. What it decides never shows in
 * the bits: attention.h. */
#ifndef GRAFT_KERNELS_ATTENTION_DEAL_H
#define GRAFT_KERNELS_ATTENTION_DEAL_H

#include "attention.h"

/* A thread's share of the units: those whose middle lies in [lo, hi) of the total cost, in their
 * order. Every thread walks all units and takes its own. */
typedef struct {
    double total, before, lo, hi;
} att_deal;

static inline bool att_mine(att_deal *d, double cost)
{
    const double middle = d->before + 0.5 * cost;
    d->before += cost;
    return middle >= d->lo && middle < d->hi;
}

/* ---- backward: fused or split ------------------------------------------------------ */

/* A k/v head of an example whose cost lies wholly inside a thread's even share of the total, and
 * whose dq fits, is that thread's, fused; the others are split between all. */
typedef struct {
    double total; /* of all k/v heads */
    int threads;
    int64_t room; /* floats for dq in a thread's scratch */
} att_plan;

/* Cost of a k/v head: its (query, key) pairs, up to what tiles add. */
static inline double att_head_cost(const att_args *a, gf_span span)
{
    const double n = (double)span.len, w = (double)a->window;
    return (double)a->share * (a->window > 0 && w < n ? w * (n + 1) : n * (n + 1) / 2);
}

/* The thread that runs the head fused, or -1; `before` is the cost of all heads before it. */
static inline int att_fused_owner(const att_args *a, const att_plan *p, gf_span span, double before)
{
    const int64_t dq = a->share * att_up(span.len, BLOCK) * a->pitch;
    if (p->total <= 0.0 || dq > p->room)
        return -1;
    const double after = before + att_head_cost(a, span);
    for (int t = (int)(before / p->total * p->threads); t < p->threads; t++) {
        if (before < p->total * t / p->threads)
            break;
        if (after <= p->total * (t + 1) / p->threads)
            return t;
    }
    return -1;
}

/* Sums, over all heads, the cost of those that threads below `thread` run fused, and of
 * all such. */
static inline void att_fused_costs(const att_args *a, const att_plan *p, int thread, double *below,
                                   double *all)
{
    double before = 0.0;
    *below = *all = 0.0;
    for (int s = 0; s < a->row->count; s++)
        for (int64_t g = 0; g < a->groups; g++) {
            const double cost = att_head_cost(a, a->row->span[s]);
            const int owner = att_fused_owner(a, p, a->row->span[s], before);
            before += cost;
            *all += owner >= 0 ? cost : 0.0;
            *below += owner >= 0 && owner < thread ? cost : 0.0;
        }
}

/* Where the split work of `thread` begins, as a share of all of it: its even share of the total is
 * what it runs fused plus this. Costs are whole numbers, so that neighbours agree to the bit. */
static inline double att_split_begin(const att_args *a, const att_plan *p, int thread)
{
    double below, all;
    att_fused_costs(a, p, thread, &below, &all);
    if (thread == 0)
        return 0.0;
    if (thread == p->threads || all >= p->total)
        return 2.0; /* beyond the end */
    return (p->total * thread / p->threads - below) / (p->total - all);
}

#endif
