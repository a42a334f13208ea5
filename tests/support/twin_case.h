/* twin_case.h - the same call on a device and on a CPU. A twin is a tensor in both: its values are
 * set on the CPU's side, the op runs on both sides, then `got` holds what the device made.
 *
 *     twin_pair p;
 *     twin_open(&p);
 *     twin *x = twin_make(&p, GF_F32, "x", n, d, 0, gap);
 *     op_fill(x->cpu.t, 1, 2.0);
 *     TWIN_RUN(p, gf_rope(BE, T(x), T(c), T(s), 1));
 *     twin_equal("rope", x);
 *     twin_close(&p);
 */
#ifndef GRAFT_TESTS_TWIN_CASE_H
#define GRAFT_TESTS_TWIN_CASE_H

#include "support/device_case.h"

typedef struct {
    op_tensor cpu, got;
    device_tensor on;
} twin;

#define TWIN_ROOM 64

typedef struct {
    gf_backend be, cpu;
    twin twin[TWIN_ROOM]; /* all that were made since twin_open or twin_clear */
    int count;
} twin_pair;

static inline void twin_open(twin_pair *p)
{
    gf_err err = {0};
    *p = (twin_pair){.count = 0};
    device_open(&p->be);
    cr_assert_eq(gf_backend_open_cpu(&p->cpu, 1, "auto", &err), GF_OK, "%s", err.text);
}

/* The pointer is good until twin_clear. */
static inline twin *twin_make(twin_pair *p, gf_dtype type, const char *name, int64_t d0, int64_t d1,
                              int64_t d2, int64_t gap)
{
    cr_assert(p->count < TWIN_ROOM);
    twin *t = &p->twin[p->count++];
    t->cpu = op_make(type, name, d0, d1, d2, gap);
    t->got = op_make(type, name, d0, d1, d2, gap);
    t->on = device_put(&p->be, &t->cpu);
    return t;
}

/* The CPU's values, guards and gaps to the device. */
static inline void twin_put(twin_pair *p)
{
    for (int i = 0; i < p->count; i++)
        DEVICE_OK(&p->be, gf_upload(&p->be, device_whole(&p->twin[i].on), p->twin[i].cpu.memory));
}

static inline void twin_get(twin_pair *p)
{
    for (int i = 0; i < p->count; i++) {
        device_get(&p->be, &p->twin[i].on, &p->twin[i].got);
        cr_assert(op_guard_whole(&p->twin[i].cpu));
    }
}

static inline void twin_clear(twin_pair *p)
{
    for (int i = 0; i < p->count; i++) {
        device_free(&p->be, &p->twin[i].on);
        op_free(&p->twin[i].cpu);
        op_free(&p->twin[i].got);
    }
    p->count = 0;
}

static inline void twin_close(twin_pair *p)
{
    twin_clear(p);
    gf_backend_close(&p->cpu);
    device_close(&p->be);
}

/* What an op is given on one side; no twin: no tensor. */
static inline gf_tensor twin_side(const twin *t, bool device)
{
    return !t ? gf_none : device ? t->on.t : t->cpu.t;
}

/* The call once on each side, with all twins' values before and after: inside it BE is the backend
 * and T(x) a twin's tensor. */
#define TWIN_RUN(p, call)                                                                          \
    do {                                                                                           \
        twin_put(&(p));                                                                            \
        for (int side_ = 1; side_ >= 0; side_--) {                                                 \
            gf_backend *const BE = side_ ? &(p).be : &(p).cpu;                                     \
            cr_assert_eq((call), GF_OK, "%s: %s: %s", BE->ops->name, #call, BE->err.text);         \
        }                                                                                          \
        twin_get(&(p));                                                                            \
    } while (0)
#define T(x) twin_side((x), side_)

/* The same numbers, NaN where NaN is. */
static inline void twin_equal(const char *what, const twin *t)
{
    device_near(what, t->got.t, t->cpu.t, 0.0, 0.0);
}

#endif
