/* bench.h - what the subcommands of bench share: options, the clock, the peak that results are a
 * share of, and one way to print a result.
 *
 * A subcommand is a row of the table in main.c. On a CPU times are the best of many runs (of a
 * step: the median), with the peak measured between them: other work on the machine then slows
 * both. On a GPU: device.h. */
#ifndef GRAFT_BENCH_BENCH_H
#define GRAFT_BENCH_BENCH_H

#include "graft/ops.h"
#include "pool.h"

#define BENCH_CPU (-1)

typedef struct {
    int threads;        /* 0: run once with 1, once with all */
    const char *isa;    /* as --isa of graft */
    int64_t tokens;     /* rows of the products, of a step; 0: the subcommand's own */
    double seconds;     /* to spend on one result */
    bool json;          /* JSON lines instead of a table */
    bool separate;      /* step on a GPU: adapters as products of their own, for comparison */
    bool cpu_time;      /* CPU time of one thread instead of wall time: for a machine that others
                           use */
    int device;         /* BENCH_CPU, or a CUDA device's number */
    const char *model;  /* step: folder or .gguf; model, plan: a known name; NULL: all */
    const char *gpu;    /* model, plan: a known name; NULL: all */
    const char *shape;  /* kernels: a name of its table; NULL: all but "tiny" */
    const char *op;     /* kernels: one op; NULL: all */
    const char *folder; /* model, plan: where the model's headers are left; NULL: nowhere */
    int64_t rank;       /* of the adapter */
    int64_t steps;      /* step, peers: that are measured */
} bench_options;

/* Returns an exit code. */
typedef int bench_run(const bench_options *o);
bench_run bench_roofline, bench_gemm, bench_kernels, bench_step, bench_model, bench_plan,
    bench_peers;

/* Seconds: wall, or with --cpu-time the CPU time of this process (then of one thread). */
double bench_now(void);

/* Opens a CPU backend or says on stderr why not. */
bool bench_open(gf_backend *be, const bench_options *o, int threads);

/* The thread counts that the options ask for, ascending; returns how many (1 or 2). */
int bench_threads(const bench_options *o, int counts[2]);

/* Floating-point operations a second of fused multiply-adds (or pairs of bf16) on registers alone,
 * on every thread of the backend, in one short burst. 0: this instruction set has none of its
 * own. */
double bench_peak(gf_backend *be, bool bf16);

/* print.c. One result: a name, then values. In a table the columns are named once, by the first
 * result of a run of equal headings. A JSON line begins with what was measured, and on what:
 * "schema", "git", "build", "host", and "gpu" after bench_print_device. */
typedef struct {
    const char *key;
    const char *text; /* a word, or NULL: the number */
    double number;
    int decimals;
} bench_value;
void bench_print(const bench_options *o, const char *what, const bench_value *v, int count);
/* From here on results are this device's. */
void bench_print_device(const bench_options *o, gf_backend *be);

#endif
