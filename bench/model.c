/* model.c - bench model, bench plan: what a row of a named model costs and needs, from a dry run of
 * the engine's own forward and backward pass on the CUDA backend, and the time that it should take
 * on named GPUs. No GPU, no weights. */
#include "bench.h"
#include "known.h"
#include "predict.h"

#include "model/model.h"
#include "train/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of one model and length of row. */
typedef struct {
    const bench_known *model;
    int64_t tokens, parameters; /* of the adapter */
    gf_plan plan;
    bench_work train, eval, frozen;
    double per_layer; /* launches of a layer, forward and backward */
    double planning;  /* seconds that the plan took */
} analysis;

typedef struct {
    gf_files files;
    gf_adapter adapter;
    gf_backend be;
} opened;

static gf_status open_all(opened *a, const bench_options *o, const char *dir, gf_err *err)
{
    gf_peft_config config = {.r = o->rank, .lora_alpha = 2.0 * (double)o->rank};
    TRY(gf_files_open(&a->files, dir, err));
    config.target_regex = gf_strdup("all-linear", err);
    TRY(gf_adapter_resolve(&a->adapter, &config, &a->files.config, err));
    return gf_backend_open_cuda(&a->be, GF_DEVICE_DRY, err);
}

static void close_all(opened *a)
{
    if (a->be.ops)
        gf_backend_close(&a->be);
    gf_adapter_free(&a->adapter);
    gf_files_close(&a->files);
}

/* The plan of a row, and what its ops cost. */
static gf_status plan_row(opened *a, gf_use use, int64_t tokens, gf_plan *p, bench_work *w,
                          gf_err *err)
{
    const gf_model_options opt = {.use = use, .precision = GF_BF16, .row_tokens = tokens};
    *w = (bench_work){0};
    a->be.meter = bench_meter(w);
    TRY(gf_plan_row(p, &a->files, &a->adapter, &a->be, &opt, err));
    return w->failed ? gf_fail(err, GF_ENOMEM, "no memory for the list of ops") : GF_OK;
}

/* Launches of the model in `dir`. */
static gf_status count_launches(const bench_options *o, const char *dir, int64_t tokens,
                                int64_t *launches, gf_err *err)
{
    opened a = {0};
    bench_work w = {0};
    gf_plan p;
    gf_status st = open_all(&a, o, dir, err);
    if (st == GF_OK)
        st = plan_row(&a, GF_USE_TRAIN, tokens, &p, &w, err);
    *launches = w.all.launches;
    bench_work_free(&w);
    close_all(&a);
    return st;
}

static gf_status analyse(analysis *r, const bench_options *o, const char *dir, gf_err *err)
{
    opened a = {0};
    gf_plan forward;
    gf_status st = GF_OK;
    TRYG(bench_known_write(r->model, dir, err));
    TRYG(open_all(&a, o, dir, err));
    r->parameters = a.adapter.size;
    const double start = bench_now();
    TRYG(plan_row(&a, GF_USE_TRAIN, r->tokens, &r->plan, &r->train, err));
    r->planning = bench_now() - start;
    TRYG(plan_row(&a, GF_USE_EVAL, r->tokens, &forward, &r->eval, err));
    bench_frozen(&r->frozen, &r->train, &r->eval);
out:
    close_all(&a);
    return st;
}

/* What a layer adds to a model that has one layer less. */
static gf_status analyse_layer(analysis *r, const bench_options *o, const char *dir, gf_err *err)
{
    bench_known less = *r->model;
    int64_t launches;
    less.L--;
    TRY(bench_known_write(&less, dir, err));
    TRY(count_launches(o, dir, r->tokens, &launches, err));
    r->per_layer = (double)(r->train.all.launches - launches);
    return GF_OK;
}

/* In a folder of its own, which is removed, or in --folder, which stays. */
static gf_status analyse_in_folder(analysis *r, const bench_options *o, gf_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *top = gf_format(err, "%s/graft-bench-XXXXXX", tmp ? tmp : "/tmp");
    char *dir = NULL, *less = NULL;
    gf_status st = top ? GF_OK : GF_ENOMEM;
    if (st == GF_OK && !mkdtemp(top))
        st = gf_fail(err, GF_EIO, "%s: cannot make this folder", top);
    TRYG(st);
    dir = o->folder ? gf_strdup(o->folder, err) : gf_format(err, "%s/model", top);
    less = gf_format(err, "%s/less", top);
    if (!dir || !less) {
        st = GF_ENOMEM;
        goto out;
    }
    st = analyse(r, o, dir, err);
    if (!o->folder)
        bench_known_remove(dir);
    TRYG(st);
    st = analyse_layer(r, o, less, err);
    bench_known_remove(less);
out:
    if (top)
        remove(top);
    free(dir);
    free(less);
    free(top);
    return st;
}

/* ---- results -------------------------------------------------------------------------- */

static double giga(double x)
{
    return x * 1e-9;
}

static void print_time(const bench_options *o, const analysis *r, const bench_gpu *g)
{
    const double tokens = (double)r->tokens, useful = bench_useful(&r->train);
    const double memory = (double)(r->plan.total + r->plan.threads);
    const bench_time t = bench_predict(g, &r->train), base = bench_predict(g, &r->frozen);
    const double all = bench_seconds(&t);
    const bench_value v[] = {
        {"gpu", g->name, 0, 0},
        {"model", r->model->name, 0, 0},
        {"row", NULL, tokens, 0},
        {"gflop", NULL, giga(useful) / tokens, 3},
        {"exec_gflop", NULL, giga((double)r->train.all.flops) / tokens, 3},
        {"MB", NULL, (double)r->train.all.bytes / tokens * 1e-6, 3},
        {"launches", NULL, (double)r->train.all.launches, 0},
        {"a_layer", NULL, r->per_layer, 0},
        {"GiB", NULL, memory / 0x1p30, 2},
        {"fits", memory <= g->memory ? "yes" : "no", 0, 0},
        {"limit", NULL, tokens * g->peak / useful, 0},
        {"ms", NULL, all * 1e3, 2},
        {"tokens/s", NULL, tokens / all, 0},
        {"mfu_%", NULL, 100 * useful / all / g->peak, 2},
        {"exec_mfu_%", NULL, 100 * (double)r->train.all.flops / all / g->peak, 2},
        {"gemm_%", NULL, 100 * t.gemm / all, 1},
        {"attn_%", NULL, 100 * t.attention / all, 1},
        {"lora_%", NULL, 100 * t.adapters / all, 1},
        {"rows_%", NULL, 100 * t.rows / all, 1},
        {"gaps_%", NULL, 100 * t.gaps / all, 1},
        {"adds_%", NULL, 100 * (all / bench_seconds(&base) - 1), 2},
    };
    bench_print(o, "model", v, sizeof v / sizeof *v);
}

static void print_memory(const bench_options *o, const analysis *r, const bench_gpu *g)
{
    bench_value v[GF_PARTS + 9] = {
        {"gpu", g->name, 0, 0},
        {"model", r->model->name, 0, 0},
        {"row", NULL, (double)r->tokens, 0},
        {"parameters", NULL, (double)r->parameters, 0},
    };
    int n = 4;
    for (int i = 0; i < GF_PARTS; i++)
        v[n++] = (bench_value){gf_part_name((gf_part)i), NULL, (double)r->plan.part[i], 0};
    const double all = (double)(r->plan.total + r->plan.threads);
    v[n++] = (bench_value){"own", NULL, (double)r->plan.threads, 0};
    v[n++] = (bench_value){"bytes", NULL, all, 0};
    v[n++] = (bench_value){"left_GiB", NULL, (g->memory - all) / 0x1p30, 2};
    v[n++] = (bench_value){"fits", all <= g->memory ? "yes" : "no", 0, 0};
    v[n++] = (bench_value){"plan_ms", NULL, r->planning * 1e3, 2};
    bench_print(o, "plan", v, n);
}

typedef void print_analysis(const bench_options *o, const analysis *r, const bench_gpu *g);

static int each(const bench_options *o, print_analysis *print)
{
    static const int64_t lengths[] = {2048, 4096, 8192};
    const bench_gpu *one = o->gpu ? bench_find_gpu(o->gpu) : NULL;
    const bench_known *model = o->model ? bench_find_known(o->model) : NULL;
    if ((o->gpu && !one) || (o->model && !model)) {
        fprintf(stderr, "bench: no such %s; there are", o->gpu && !one ? "GPU" : "model");
        for (int i = 0; o->gpu && !one && i < bench_gpu_count; i++)
            fprintf(stderr, " %s", bench_gpus[i].name);
        for (int i = 0; !(o->gpu && !one) && i < bench_known_count; i++)
            fprintf(stderr, " %s", bench_known_models[i].name);
        fprintf(stderr, "\n");
        return 2;
    }
    for (int m = 0; m < bench_known_count; m++)
        for (int l = 0; l < (o->tokens ? 1 : 3); l++) {
            analysis r = {.model = &bench_known_models[m],
                          .tokens = o->tokens ? o->tokens : lengths[l]};
            gf_err err = {0};
            if (model && model != r.model)
                continue;
            const gf_status st = analyse_in_folder(&r, o, &err);
            for (int g = 0; st == GF_OK && g < bench_gpu_count; g++)
                if (!one || one == &bench_gpus[g])
                    print(o, &r, &bench_gpus[g]);
            bench_work_free(&r.train);
            bench_work_free(&r.eval);
            bench_work_free(&r.frozen);
            if (st != GF_OK) {
                fprintf(stderr, "bench: %s\n", err.text);
                return gf_exit_code(st);
            }
        }
    return 0;
}

int bench_model(const bench_options *o)
{
    return each(o, print_time);
}

int bench_plan(const bench_options *o)
{
    return each(o, print_memory);
}
