/* step.c - whole training steps of a model on one row of random tokens, LoRA on all linear layers,
 * as the trainer does them: tokens/s, the share of the peak, memory planned, used and resident.
 * tools/peers.py runs PyTorch and PEFT on the same work. A known name instead of a path (bench
 * model has them) gives that model's shape with random weights. */
#include "bench.h"
#include "device.h"
#include "known.h"
#include "predict.h"

#include "model/model.h"
#include "model/space.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct {
    const bench_options *o;
    gf_dtype precision;
    gf_files files;
    gf_backend be;
    gf_adapter adapter;
    gf_arena arena;
    gf_model model;
    gf_plan plan;
    bench_work work; /* of the plan's row */
    double loss_first, loss_last;
} fixture;

/* Of each measured step, and the peak that was measured right after it. */
typedef struct {
    double *seconds, *share;
} samples;

/* ---- a model of a known shape: random weights ----------------------------------------- */

#define NOISE ((int64_t)1 << 24) /* elements, used again and again */

/* Rows of t from the noise, some at a time. */
static gf_status fill_matrix(gf_backend *be, gf_tensor t, const void *noise)
{
    const int64_t step = NOISE / gf_width(t);
    for (int64_t i = 0; i < t.dim[0]; i += step)
        TRY(gf_upload(be, gf_rows(t, i, t.dim[0] - i < step ? t.dim[0] - i : step), noise));
    return gf_wait(be);
}

static gf_status fill_group(gf_backend *be, const gf_group *g, const void *noise)
{
    for (int i = 0; i < g->count; i++)
        TRY(fill_matrix(be, g->lin[i].w, noise));
    return GF_OK;
}

static gf_status fill_layers(gf_model *m, const void *noise, const float *ones)
{
    TRY(fill_matrix(m->be, m->embed, noise));
    TRY(fill_group(m->be, &m->head, noise));
    TRY(gf_upload(m->be, m->norm, ones));
    for (int64_t l = 0; l < m->cfg->L; l++) {
        const gf_layer *w = &m->layer[l];
        const gf_tensor norms[] = {w->norm1, w->post1, w->norm2, w->post2, w->q_norm, w->k_norm};
        for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
            if (gf_is(norms[i]))
                TRY(gf_upload(m->be, norms[i], ones));
        TRY(fill_group(m->be, &w->qkv, noise));
        TRY(fill_group(m->be, &w->o, noise));
        TRY(fill_group(m->be, &w->gate_up, noise));
        TRY(fill_group(m->be, &w->down, noise));
    }
    return GF_OK;
}

/* Uniform, as large as such weights are: 1 / sqrt(width). */
static gf_status fill_weights(gf_model *m, gf_err *err)
{
    const float scale = 1.0f / sqrtf((float)m->cfg->D);
    float *wide = gf_alloc((size_t)NOISE, sizeof *wide, err);
    void *noise = gf_alloc((size_t)NOISE, sizeof(float), err);
    float *ones = gf_alloc((size_t)(m->cfg->D + m->cfg->K), sizeof *ones, err);
    gf_status st = wide && noise && ones ? GF_OK : GF_ENOMEM;
    uint32_t state = 1;
    if (st == GF_OK) {
        for (int64_t i = 0; i < NOISE; i++) {
            state = state * 1664525u + 1013904223u; /* Numerical Recipes */
            wide[i] = scale * (float)(int32_t)state * 0x1p-31f;
        }
        for (int64_t i = 0; i < m->cfg->D + m->cfg->K; i++)
            ones[i] = 1;
        gf_from_f32(m->embed.dtype, noise, wide, NOISE);
        st = fill_layers(m, noise, ones);
        if (st != GF_OK)
            gf_fail(err, st, "%s", m->be->err.text);
    }
    free(wide);
    free(noise);
    free(ones);
    return st;
}

/* ---- opening -------------------------------------------------------------------------- */

/* A known name's headers lie in a folder only while they are read. */
static gf_status open_files(fixture *f, gf_err *err)
{
    const bench_known *known = bench_find_known(f->o->model);
    if (!known)
        return gf_files_open(&f->files, f->o->model, err);
    const char *tmp = getenv("TMPDIR");
    char *top = gf_format(err, "%s/graft-bench-XXXXXX", tmp ? tmp : "/tmp");
    char *dir = top && mkdtemp(top) ? gf_format(err, "%s/model", top) : NULL;
    gf_status st = dir ? bench_known_write(known, dir, err)
                       : gf_fail(err, GF_EIO, "no folder for the model's headers");
    if (st == GF_OK)
        st = gf_files_open(&f->files, dir, err);
    if (dir)
        bench_known_remove(dir); /* what is open stays readable */
    if (top)
        remove(top);
    free(dir);
    free(top);
    return st;
}

static gf_status init_adapter(fixture *f, gf_err *err)
{
    gf_space space;
    gf_status st = gf_space_open(&space, &f->model, false, err);
    if (st == GF_OK) {
        gf_adapter_init(&f->adapter, space.value, GF_INIT_DEFAULT, 1);
        st = gf_space_push(&space, err);
    }
    gf_space_close(&space);
    return st;
}

static gf_status open_all(fixture *f, gf_err *err)
{
    gf_peft_config config = {.r = f->o->rank, .lora_alpha = 2.0 * (double)f->o->rank};
    const gf_model_options opt = {
        .use = GF_USE_TRAIN, .precision = f->precision, .row_tokens = f->o->tokens};
    TRY(open_files(f, err));
    TRY(f->o->device == BENCH_CPU ? gf_backend_open_cpu(&f->be, f->o->threads, f->o->isa, err)
                                  : gf_backend_open_cuda(&f->be, f->o->device, err));
    f->be.separate_lora = f->o->separate;
    config.target_regex = gf_strdup("all-linear", err);
    TRY(gf_adapter_resolve(&f->adapter, &config, &f->files.config, err));
    f->be.meter = bench_meter(&f->work);
    TRY(gf_plan_row(&f->plan, &f->files, &f->adapter, &f->be, &opt, err));
    f->be.meter = (gf_meter){0};
    const uint64_t limit = f->be.cuda ? gf_backend_device(&f->be)->free_ : 0;
    TRY(gf_model_open(&f->model, &f->files, &f->adapter, &f->be, &f->arena, &opt, limit, false,
                      err));
    if (bench_find_known(f->o->model))
        TRY(fill_weights(&f->model, err));
    return init_adapter(f, err);
}

static void close_all(fixture *f)
{
    gf_model_close(&f->model);
    gf_arena_free(&f->arena);
    gf_adapter_free(&f->adapter);
    if (f->be.ops)
        gf_backend_close(&f->be);
    gf_files_close(&f->files);
    bench_work_free(&f->work);
}

/* ---- steps ---------------------------------------------------------------------------- */

/* Every token is trained but the first. Waits once, as the trainer does. */
static gf_status one_step(fixture *f, const int32_t *ids, int64_t step)
{
    gf_model *m = &f->model;
    double squares;
    int64_t sum[GF_SUMS];
    m->fixed.shift = 40;
    TRY(gf_zero(m->be, m->reduced));
    gf_row_start(m);
    gf_row_add(m, ids, ids, f->o->tokens, 0);
    TRY(gf_model_run(m, true));
    const double scale = ldexp(1, -40) / (double)m->row.predicted;
    TRY(gf_sum_squares(m->be, &squares, m->grad, scale));
    TRY(gf_download(m->be, sum, m->sums));
    TRY(gf_wait(m->be));
    const double loss = (double)sum[GF_SUM_LOSS] / GF_LOSS_SCALE / (double)m->row.predicted;
    if (sum[GF_SUM_NONFINITE] || !(squares >= 0) || !(loss > 0))
        return gf_fail(&m->be->err, GF_ENUMERIC, "step %lld is wrong: loss %g, squares %g",
                       (long long)step, loss, squares);
    f->loss_first = step == 1 ? loss : f->loss_first;
    f->loss_last = loss;
    const gf_adamw_args args = {
        .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = step};
    TRY(gf_adamw(m->be, m->value, m->moment[GF_MOMENT_M], m->moment[GF_MOMENT_V], m->grad, scale,
                 &args));
    return gf_model_tails(m);
}

static gf_status measure(fixture *f, samples *s)
{
    int32_t *ids = malloc((size_t)f->o->tokens * sizeof *ids);
    uint32_t state = 1;
    gf_status st = ids ? GF_OK : GF_ENOMEM;
    for (int64_t i = 0; ids && i < f->o->tokens; i++) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes: any ids will do */
        ids[i] = (int32_t)((state >> 8) % (uint32_t)f->files.config.V);
    }
    /* the first two warm up: modules are loaded, the pass is captured */
    for (int64_t i = -2; st == GF_OK && i < f->o->steps; i++) {
        const double start = bench_now();
        st = one_step(f, ids, i + 3);
        if (st == GF_OK)
            st = gf_wait(&f->be);
        const double took = bench_now() - start;
        if (i < 0)
            continue;
        s->seconds[i] = took;
        s->share[i] = (double)f->plan.row.flops / took;
        if (!f->be.cuda)
            s->share[i] /= bench_peak(&f->be, f->precision == GF_BF16);
    }
    free(ids);
    return st;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The q-quantile of n values; sorts them. */
static double quantile(double *x, int64_t n, double q)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[(int64_t)(q * (double)(n - 1) + 0.5)];
}

/* On a CPU: the share of the peak that was measured meanwhile. */
static int cpu_values(const fixture *f, const samples *s, bench_value *v)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    v[0] = (bench_value){"of_peak_%", NULL, 100 * quantile(s->share, f->o->steps, 0.5), 1};
    v[1] = (bench_value){"peak_MiB", NULL, (double)usage.ru_maxrss / 1024, 1};
    return 2;
}

/* On a GPU: shares of the data sheet's peak, and of what was predicted. */
static int gpu_values(const fixture *f, double seconds, bench_value *v)
{
    const bench_gpu *g = bench_find_gpu(gf_backend_device(&f->be)->name);
    const double useful = bench_useful(&f->work),
                 rows = (double)(f->be.tally.captured + f->be.tally.replayed);
    int n = 0;
    v[n++] = (bench_value){"launches", NULL, (double)f->plan.row.launches, 0};
    v[n++] = (bench_value){"replayed_%", NULL,
                           rows > 0 ? 100 * (double)f->be.tally.replayed / rows : 0, 1};
    v[n++] = (bench_value){"tflops", NULL, useful / seconds * 1e-12, 2};
    if (!g) {
        v[n++] = (bench_value){"predicted_us", "not known", 0, 0};
        return n;
    }
    const bench_time t = bench_predict(g, &f->work);
    v[n++] = (bench_value){"mfu_useful", NULL, 100 * useful / seconds / g->peak, 2};
    v[n++] =
        (bench_value){"mfu_exec", NULL, 100 * (double)f->plan.row.flops / seconds / g->peak, 2};
    v[n++] = (bench_value){"predicted_us", NULL, bench_seconds(&t) * 1e6, 1};
    v[n++] = (bench_value){"pred_ratio", NULL, seconds / bench_seconds(&t), 3};
    return n;
}

static void report(fixture *f, samples *s)
{
    const int64_t n = f->o->steps, tokens = f->o->tokens;
    const double median = quantile(s->seconds, n, 0.5);
    bench_value v[32] = {
        {"model", f->o->model, 0, 0},
        {"precision", f->precision == GF_F32 ? "fp32" : "bf16", 0, 0},
        {"isa", f->be.ops->name, 0, 0},
        {"threads", NULL, f->be.cuda ? 1 : gf_backend_threads(&f->be), 0},
        {"rank", NULL, (double)f->o->rank, 0},
        {"lora", f->o->separate ? "separate" : "extended", 0, 0},
        {"row", NULL, (double)tokens, 0},
        {"samples", NULL, (double)n, 0},
        {"tokens/s", NULL, (double)tokens / median, 1},
        {"p10", NULL, (double)tokens / quantile(s->seconds, n, 0.9), 1},
        {"p90", NULL, (double)tokens / quantile(s->seconds, n, 0.1), 1},
        {"t_median_us", NULL, median * 1e6, 1},
        {"plan_MiB", NULL, (double)(f->plan.total + f->plan.threads) / 0x1p20, 1},
        {"used_MiB", NULL, (double)(gf_arena_planned(&f->arena) + f->plan.threads) / 0x1p20, 1},
        {"loss_first", NULL, f->loss_first, 6},
        {"loss_last", NULL, f->loss_last, 6},
    };
    const int count = 16 + (f->be.cuda ? gpu_values(f, median, v + 16) : cpu_values(f, s, v + 16));
    bench_print(f->o, "step", v, count);
}

static int run(const bench_options *o, gf_dtype precision)
{
    fixture f = {.o = o, .precision = precision};
    gf_err err = {0};
    samples s = {.seconds = calloc((size_t)o->steps, sizeof(double)),
                 .share = calloc((size_t)o->steps, sizeof(double))};
    gf_status st = s.seconds && s.share ? open_all(&f, &err) : GF_ENOMEM;
    if (st == GF_OK && f.be.cuda)
        bench_print_device(o, &f.be);
    if (st == GF_OK && (st = measure(&f, &s)) != GF_OK)
        gf_fail(&err, st, "%s", f.be.err.text);
    if (st == GF_OK)
        report(&f, &s);
    else
        fprintf(stderr, "bench: %s\n", err.text);
    close_all(&f);
    free(s.seconds);
    free(s.share);
    return gf_exit_code(st);
}

/* bf16 first: peak memory is the process's, and fp32 takes more. */
int bench_step(const bench_options *o)
{
    if (!o->model) {
        fprintf(stderr, "bench: step needs --model PATH\n");
        return 2;
    }
    const int code = run(o, GF_BF16);
    return code ? code : run(o, GF_F32);
}
