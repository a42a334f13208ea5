/* plan.c - see plan.h. */
#include "train/plan.h"

#include "train/peak.h"

#include "base/number.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Past these rows are no faster: the products run at full rate anyway. On a GPU they also make what
 * is fixed for a row small (PERFORMANCE 1.6). */
#define AUTO_ROW_TOKENS 2048
#define AUTO_ROW_TOKENS_DEVICE 16384

gf_status gf_plan_row(gf_plan *p, const gf_files *files, const gf_adapter *adapter, gf_backend *be,
                      const gf_model_options *opt, gf_err *err)
{
    gf_model m;
    gf_arena arena = {0};
    TRY(gf_model_open(&m, files, adapter, be, &arena, opt, 0, true, err));
    *p = (gf_plan){.row_tokens = opt->row_tokens,
                   .total = gf_arena_planned(&arena),
                   .threads = gf_backend_scratch(be),
                   .row = be->tally};
    for (int i = 0; i < GF_PARTS; i++)
        p->part[i] = arena.part[i].peak;
    gf_model_close(&m);
    gf_arena_free(&arena);
    return GF_OK;
}

/* The row fits or not; if not, says by how much and what would. */
static gf_status refuse(const gf_plan *p, const gf_files *files, const gf_adapter *adapter,
                        gf_backend *be, gf_model_options opt, uint64_t limit, gf_err *err)
{
    gf_plan smaller = *p;
    while (smaller.total + smaller.threads > limit && opt.row_tokens > 16) {
        opt.row_tokens /= 2;
        TRY(gf_plan_row(&smaller, files, adapter, be, &opt, err));
    }
    const gf_number need = gf_number_bytes_short(p->total + p->threads);
    const gf_number have = gf_number_bytes_short(limit);
    if (smaller.total + smaller.threads <= limit)
        return gf_fail(err, GF_EFIT,
                       "a row of %lld tokens needs %s of %s; rows of %lld tokens would fit: "
                       "--max-length %lld with --overlength drop or truncate, or a lower "
                       "--row-tokens if no example is longer",
                       (long long)p->row_tokens, need.text, have.text, (long long)opt.row_tokens,
                       (long long)opt.row_tokens);
    return gf_fail(err, GF_EFIT,
                   "%s are not enough: the weights take %s, the adapter %s, the %s %s, a row of "
                   "%lld tokens the rest of %s; raise --memory-limit, or lower --lora-r%s",
                   have.text, gf_number_bytes_short(p->part[GF_PART_WEIGHTS]).text,
                   gf_number_bytes_short(p->part[GF_PART_SPACE]).text,
                   be->cuda ? "libraries" : "threads", gf_number_bytes_short(p->threads).text,
                   (long long)p->row_tokens, need.text, be->cuda ? "" : " or --threads");
}

gf_status gf_plan_choose(gf_plan *p, const gf_files *files, const gf_adapter *adapter,
                         gf_backend *be, gf_model_options *opt, int64_t asked, int64_t longest,
                         int64_t most, uint64_t limit, gf_err *err)
{
    if (asked && asked < longest)
        return gf_fail(err, GF_EARG,
                       "--row-tokens %lld: the longest example has %lld tokens, and examples are "
                       "not cut",
                       (long long)asked, (long long)longest);
    const int64_t most_auto = be->cuda ? AUTO_ROW_TOKENS_DEVICE : AUTO_ROW_TOKENS;
    int64_t tokens = most < most_auto ? most : most_auto;
    tokens = asked ? asked : tokens > longest ? tokens : longest;
    for (;;) {
        opt->row_tokens = tokens;
        TRY(gf_plan_row(p, files, adapter, be, opt, err));
        if (!limit || p->total + p->threads <= limit)
            return GF_OK;
        if (asked || tokens == longest)
            return refuse(p, files, adapter, be, *opt, limit, err);
        tokens = tokens / 2 > longest ? tokens / 2 : longest;
    }
}

/* The spans of the loader's row, without its data. */
static void dry_row(gf_model *m, const gf_loader *ld, int64_t row)
{
    m->row.spans = (gf_spans){.span = m->row.span};
    m->row.predicted = 0;
    for (int64_t i = ld->row[row]; i < ld->row[row + 1]; i++) {
        const gf_data_entry *e = &ld->data->entry[ld->pick[i]];
        gf_spans *s = &m->row.spans;
        m->row.span[s->count++] = (gf_span){
            .start = s->tokens, .len = e->length, .kv_start = s->tokens, .kv_len = e->length};
        s->tokens += e->length;
        m->row.predicted += e->trained;
    }
}

gf_status gf_plan_epoch(double *flops, const gf_files *files, const gf_adapter *adapter,
                        gf_backend *be, const gf_model_options *opt, gf_loader *ld, gf_err *err)
{
    gf_model m;
    gf_arena arena = {0};
    gf_status st = GF_OK;
    TRY(gf_model_open(&m, files, adapter, be, &arena, opt, 0, true, err));
    be->dry = true;
    *flops = 0;
    for (int64_t s = 0; st == GF_OK && s < ld->steps_per_epoch; s++) {
        gf_loader_step(ld, s, opt->row_tokens);
        for (int64_t r = 0; st == GF_OK && r < ld->rows; r++) {
            dry_row(&m, ld, r);
            be->tally = (gf_tally){0};
            st = gf_model_run(&m, opt->use == GF_USE_TRAIN);
            *flops += (double)be->tally.flops;
        }
    }
    be->dry = false;
    gf_backend_said(be, st, err);
    gf_model_close(&m);
    gf_arena_free(&arena);
    return st;
}

double gf_plan_rate(gf_backend *be, gf_dtype precision)
{
    enum { M = 192, N = 512, K = 512, TRIES = 6 }; /* 0.1 GFLOP: a millisecond */
    if (be->cuda) /* too small a product for a GPU; bench model predicts from data sheets */
        return 0;
    float *data = gf_alloc((size_t)M * N + (size_t)M * K + (size_t)N * K, sizeof *data, NULL);
    if (!data)
        return 0;
    gf_group g = {.count = 1};
    g.lin[0].w = gf_view(data, precision, "w", N, K, 0);
    const gf_tensor x = gf_view(data + N * K, precision, "x", M, K, 0);
    const gf_tensor y = gf_view(data + N * K + M * K, GF_F32, "y", M, N, 0);
    const gf_spans row = {.tokens = M};
    const gf_dropout none = {0};
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (gf_group_linear_fwd(be, y, gf_none, x, gf_none, &g, &row, none) != GF_OK)
            break;
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        const double rate = 2.0 * M * N * K / s;
        best = rate > best ? rate : best;
    }
    free(data);
    return best;
}

double gf_plan_limit(gf_backend *be, gf_dtype precision)
{
    static const struct {
        const char *name;
        double peak;
    } gpus[] = {
#define X(name, peak) {name, peak},
        GF_PEAK_LIST(X)
#undef X
    };
    if (!be->cuda)
        return gf_plan_rate(be, precision);
    const char *name = gf_backend_device(be)->name;
    for (size_t i = 0; precision == GF_BF16 && i < sizeof gpus / sizeof *gpus; i++)
        if (!strncmp(name, gpus[i].name, strlen(gpus[i].name)))
            return gpus[i].peak;
    return 0;
}
