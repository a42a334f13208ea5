/* op_case.h - what the tests of the ops share: tensors with guard zones and odd strides, repeatable
 * values, every instruction set of this CPU, and comparison with a stated bound. */
#ifndef GRAFT_TESTS_OP_CASE_H
#define GRAFT_TESTS_OP_CASE_H

#include "graft/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 0xA5u    /* byte that fills what no op may touch */
#define GUARD_ROOM 192 /* bytes before and behind: more than any vector */
#define U32 0x1p-24    /* unit roundoff of f32 */
#define U16 0x1p-8     /* of bf16 */

/* A tensor in memory of its own, surrounded by guard bytes, with `gap` unused elements after each
 * row. */
typedef struct {
    gf_tensor t;
    unsigned char *memory;
    size_t bytes;
} op_tensor;

static inline op_tensor op_make(gf_dtype type, const char *name, int64_t d0, int64_t d1, int64_t d2,
                                int64_t gap)
{
    op_tensor x = {.t = gf_view(NULL, type, name, d0, d1, d2)};
    x.t.stride = gf_width(x.t) + gap;
    x.bytes = (size_t)gf_row_bytes(type, x.t.stride) * (size_t)d0 + 2 * GUARD_ROOM;
    x.memory = malloc(x.bytes);
    cr_assert_not_null(x.memory);
    memset(x.memory, GUARD, x.bytes);
    x.t.data = x.memory + GUARD_ROOM;
    return x;
}

static inline void op_free(op_tensor *x)
{
    free(x->memory);
    x->memory = NULL;
}

static inline void *op_row(gf_tensor t, int64_t i)
{
    return (char *)t.data + gf_row_bytes(t.dtype, t.stride) * i;
}

/* Whether only the elements were written. */
static inline bool op_guard_whole(const op_tensor *x)
{
    const size_t row = (size_t)gf_row_bytes(x->t.dtype, gf_width(x->t));
    const size_t pitch = (size_t)gf_row_bytes(x->t.dtype, x->t.stride);
    for (size_t i = 0; i < x->bytes; i++) {
        const size_t at = i - GUARD_ROOM; /* wraps below the start */
        if (i >= GUARD_ROOM && at < pitch * (size_t)x->t.dim[0] && at % pitch < row)
            continue;
        if (x->memory[i] != GUARD)
            return false;
    }
    return true;
}

/* Repeatable values in [-1, 1). */
static inline double op_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (double)(*state >> 11) * 0x1p-52 - 1.0;
}

static inline double op_get(gf_tensor t, int64_t row, int64_t i)
{
    const void *p = op_row(t, row);
    switch (t.dtype) {
    case GF_F32:
        return (double)((const float *)p)[i];
    case GF_BF16:
        return (double)gf_bf16_to_f32(((const uint16_t *)p)[i]);
    case GF_I32:
        return (double)((const int32_t *)p)[i];
    default:
        cr_assert_fail("op_get: dtype");
    }
    return 0.0;
}

static inline void op_set(gf_tensor t, int64_t row, int64_t i, double x)
{
    void *p = op_row(t, row);
    if (t.dtype == GF_F32)
        ((float *)p)[i] = (float)x;
    else if (t.dtype == GF_BF16)
        ((uint16_t *)p)[i] = gf_f32_to_bf16((float)x);
    else if (t.dtype == GF_I32)
        ((int32_t *)p)[i] = (int32_t)x;
    else
        cr_assert_fail("op_set: dtype");
}

static inline void op_fill(gf_tensor t, uint64_t seed, double scale)
{
    uint64_t state = seed * 7919u + 1u;
    for (int64_t r = 0; r < t.dim[0]; r++)
        for (int64_t i = 0; i < gf_width(t); i++)
            op_set(t, r, i, scale * op_random(&state));
}

/* The same values in a tensor with another gap. */
static inline op_tensor op_copy(gf_tensor from, int64_t gap)
{
    op_tensor x = op_make(from.dtype, from.name, from.dim[0], from.rank > 1 ? from.dim[1] : 0,
                          from.rank > 2 ? from.dim[2] : 0, gap);
    for (int64_t i = 0; i < from.dim[0]; i++)
        memcpy(op_row(x.t, i), op_row(from, i), (size_t)gf_row_bytes(from.dtype, gf_width(from)));
    return x;
}

static inline bool op_same_row(gf_tensor a, int64_t i, gf_tensor b, int64_t j)
{
    return memcmp(op_row(a, i), op_row(b, j), (size_t)gf_row_bytes(a.dtype, gf_width(a))) == 0;
}

static inline bool op_same(gf_tensor a, gf_tensor b)
{
    for (int64_t i = 0; i < a.dim[0]; i++)
        if (!op_same_row(a, i, b, i))
            return false;
    return true;
}

/* |got - want| <= roundings * U32 * magnitude, and one rounding more if t is bf16. `magnitude` is
 * the sum of the absolute values that were added up. */
static inline void op_near(const char *what, gf_tensor t, int64_t row, int64_t i, double want,
                           double magnitude, double roundings)
{
    const double got = op_get(t, row, i);
    double tol = roundings * U32 * magnitude + 1e-37; /* below: denormals of f32 */
    if (t.dtype == GF_BF16)
        tol += U16 * fabs(want);
    cr_assert(fabs(got - want) <= tol, "%s: %s[%lld,%lld] is %.9g, want %.9g +- %.2g", what, t.name,
              (long long)row, (long long)i, got, want, tol);
}

/* The instruction sets of this CPU, one after the other: for (int i = 0; op_open(&be, i,
 * 2); i++) */
static inline bool op_open(gf_backend *be, int *which, int threads)
{
    static const char *const isa[] = {"avx512bf16", "avx512", "avx2", "plain"};
    for (; *which < (int)(sizeof isa / sizeof *isa); (*which)++) {
        gf_err err = {0};
        const gf_status st = gf_backend_open_cpu(be, threads, isa[*which], &err);
        if (st == GF_OK)
            return true;
        cr_assert_eq(st, GF_EMISSING, "%s", err.text);
    }
    return false;
}

#define EACH_ISA(be, threads)                                                                      \
    for (int isa_ = 0; op_open(&(be), &isa_, (threads)); gf_backend_close(&(be)), isa_++)

#define OP_OK(be, call)                                                                            \
    cr_assert_eq((call), GF_OK, "%s: %s: %s", (be).ops->name, #call, (be).err.text)

#define OP_REFUSED(be, call, message)                                                              \
    do {                                                                                           \
        memset(&(be).err, 0, sizeof(be).err);                                                      \
        cr_assert_eq((call), GF_ESHAPE, "%s went through", #call);                                 \
        cr_assert_str_eq((be).err.text, (message));                                                \
    } while (0)

#endif
