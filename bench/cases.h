/* cases.h - the ops with tensors of a known model's sizes, on any backend. */
#ifndef GRAFT_BENCH_CASES_H
#define GRAFT_BENCH_CASES_H

#include "graft/ops.h"

typedef struct {
    const char *name;
    int64_t N;                   /* tokens of a row */
    int64_t D, H, G, K, F, V, R; /* letters: graft/ops.h; R of each layer */
    int64_t M;                   /* tokens of a chunk of the head */
} bench_shape;

extern const bench_shape bench_shapes[];
extern const int bench_shape_count;

#define BENCH_TENSORS 16

/* An op ready to run, with repeatable values. */
typedef struct bench_case {
    gf_backend *be;
    const bench_shape *shape;
    int64_t N;
    gf_tensor t[BENCH_TENSORS]; /* as the case's run names them */
    gf_tensor out[4];           /* what the op makes: compared */
    int outs;
    void *memory[2 * BENCH_TENSORS];
    int blocks;
    gf_span span;
    gf_spans row;
    gf_group group;
    gf_fixed fixed;
    double sum;
    gf_status status; /* of the making */
    gf_err err;
} bench_case;

typedef struct {
    const char *name; /* of the op, and which */
    void (*make)(bench_case *c);
    gf_status (*run)(bench_case *c);
} bench_op;

extern const bench_op bench_ops[];
extern const int bench_op_count;

/* Makes the case for rows of n tokens. What it took is freed by bench_case_close, also after an
 * error. */
gf_status bench_case_open(bench_case *c, gf_backend *be, const bench_op *op,
                          const bench_shape *shape, int64_t n);
void bench_case_close(bench_case *c);

#endif
