/* predict.c - see predict.h. */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

/* ---- what was heard ------------------------------------------------------------------- */

static void add_to(gf_tally *sum, const gf_tally *cost, int64_t times)
{
    sum->flops += cost->flops * times;
    sum->bytes += cost->bytes * times;
    sum->calls += cost->calls * times;
    sum->launches += cost->launches * times;
    sum->products += cost->products * times;
}

static void add_call(bench_work *w, gf_at at, const gf_tally *cost, int64_t times)
{
    int i = 0;
    add_to(&w->sum[at], cost, times);
    add_to(&w->all, cost, times);
    while (i < w->count &&
           (w->call[i].at != at || memcmp(&w->call[i].cost, cost, sizeof *cost) != 0))
        i++;
    if (i == w->count) {
        bench_call *more = realloc(w->call, ((size_t)i + 1) * sizeof *more);
        if (!more) {
            w->failed = true;
            return;
        }
        w->call = more;
        w->call[w->count++] = (bench_call){.at = at, .cost = *cost};
    }
    w->call[i].times += times;
}

static void hear(void *ctx, gf_at at, const gf_tally *cost)
{
    add_call(ctx, at, cost, 1);
}

gf_meter bench_meter(bench_work *w)
{
    return (gf_meter){.tell = hear, .ctx = w};
}

void bench_work_free(bench_work *w)
{
    free(w->call);
    *w = (bench_work){0};
}

/* ---- what it should take -------------------------------------------------------------- */

static double longer(double a, double b)
{
    return a > b ? a : b;
}

static double moving(const bench_gpu *g, const gf_tally *c)
{
    return (double)c->bytes / (g->copy * g->stream);
}

static double of_op(const bench_gpu *g, const gf_tally *c, double flops, double rate)
{
    return longer(flops / rate, moving(g, c));
}

bench_time bench_predict(const bench_gpu *g, const bench_work *w)
{
    bench_time s = {.gaps = g->gap * (double)w->all.launches};
    for (int i = 0; i < w->count; i++) {
        const gf_tally *c = &w->call[i].cost;
        const double times = (double)w->call[i].times, flops = (double)c->flops;
        switch (w->call[i].at) {
        case GF_AT_group_linear_fwd:
        case GF_AT_group_linear_bwd: /* what the library executes, if a device counted it */
            s.gemm +=
                times * of_op(g, c, c->products ? (double)c->products : flops, g->peak * g->gemm);
            break;
        case GF_AT_attention_fwd:
            s.attention += times * of_op(g, c, flops, g->attention_fwd);
            break;
        case GF_AT_attention_bwd:
            s.attention += times * of_op(g, c, flops, g->attention_bwd);
            break;
        case GF_AT_lora_fwd:
        case GF_AT_lora_bwd:
            s.adapters += times * moving(g, c);
            break;
        default:
            s.rows += times * moving(g, c);
        }
    }
    return s;
}

double bench_seconds(const bench_time *t)
{
    return t->gemm + t->attention + t->adapters + t->rows + t->gaps;
}

double bench_useful(const bench_work *w)
{
    static const gf_at of[] = {GF_AT_group_linear_fwd, GF_AT_group_linear_bwd, GF_AT_lora_fwd,
                               GF_AT_lora_bwd,         GF_AT_attention_fwd,    GF_AT_attention_bwd};
    double sum = 0;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        sum += (double)w->sum[of[i]].flops;
    return sum;
}

/* What the backward passes of norms and gated units write besides their gradients, for dA: the
 * norm's output, one of 9 pairs of bytes an element (in the layers; a norm that makes none again
 * moves less), and the unit's, one of 6 tensors. */
static void without_outputs(gf_tally *cost, gf_at at)
{
    const int64_t elements = cost->flops / 9;
    if (at == GF_AT_rmsnorm_bwd && cost->bytes >= 18 * elements)
        cost->bytes -= 2 * elements;
    if (at == GF_AT_glu_bwd)
        cost->bytes -= cost->bytes / 6;
}

void bench_frozen(bench_work *frozen, const bench_work *train, const bench_work *eval)
{
    *frozen = (bench_work){.failed = train->failed || eval->failed};
    for (int i = 0; i < train->count; i++) {
        const bench_call *call = &train->call[i];
        gf_tally cost = call->cost;
        switch (call->at) {
        case GF_AT_lora_fwd:
        case GF_AT_lora_bwd:
        case GF_AT_group_tails:
        case GF_AT_group_linear_da:
        case GF_AT_rmsnorm_fwd: /* as often as in eval, below */
        case GF_AT_glu_fwd:
            continue;
        case GF_AT_group_linear_fwd:
        case GF_AT_group_linear_bwd:
            if (cost.flops == 0)
                continue; /* only adapters' gradients: nothing below needs dx */
            cost.launches = cost.launches ? 1 : 0;
            cost.products = 0;
            break;
        default:
            without_outputs(&cost, call->at);
        }
        add_call(frozen, call->at, &cost, call->times);
    }
    for (int i = 0; i < eval->count; i++)
        if (eval->call[i].at == GF_AT_rmsnorm_fwd || eval->call[i].at == GF_AT_glu_fwd)
            add_call(frozen, eval->call[i].at, &eval->call[i].cost, eval->call[i].times);
}
