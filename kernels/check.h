/* check.h - what the front doors share: their sentences on what an op was given and what it wants,
 * the tally, the call of the twin, the look at what it wrote. Used by ops.c and ops_linear.c. */
#ifndef GRAFT_KERNELS_CHECK_H
#define GRAFT_KERNELS_CHECK_H

#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sets of dtypes. */
#define F32 (1u << GF_F32)
#define ACT (F32 | 1u << GF_BF16) /* an activation: the run's precision */
#define INT (1u << GF_I32)
#define FIXED (1u << GF_I64)
#define CODE (1u << GF_U8)
#define WEIGHT                                                                                     \
    (ACT | 1u << GF_F16 | 1u << GF_Q8_0 | 1u << GF_Q4_0 | 1u << GF_Q4_1 | 1u << GF_Q5_0 |          \
     1u << GF_Q5_1 | 1u << GF_IQ4_NL | 1u << GF_Q2_K | 1u << GF_Q3_K | 1u << GF_Q4_K |             \
     1u << GF_Q5_K | 1u << GF_Q6_K | 1u << GF_IQ4_XS)
#define ANY_TYPE ((1u << GF_DTYPES) - 1u)
#define ANY_DIM (-1)

static inline void text_of_dims(char *out, size_t size, int rank, const int64_t dim[3])
{
    size_t n = 0;
    for (int i = 0; i < rank && n < size; i++) {
        char one[24] = "*";
        if (dim[i] != ANY_DIM)
            (void)snprintf(one, sizeof one, "%lld", (long long)dim[i]);
        const int add = snprintf(out + n, size - n, "%s%s", i ? "," : "", one);
        n += add > 0 ? (size_t)add : 0;
    }
    if (n == 0)
        out[0] = 0;
}

static inline void text_of_types(char *out, size_t size, unsigned types)
{
    size_t n = 0;
    out[0] = 0;
    for (int t = 0; t < GF_DTYPES && n < size; t++)
        if (types >> t & 1u) {
            const int add =
                snprintf(out + n, size - n, "%s%s", n ? "|" : "", gf_dtype_name((gf_dtype)t));
            n += add > 0 ? (size_t)add : 0;
        }
}

/* t has one of `types`, the given rank and dims (ANY_DIM: any), rows that do not overlap and, if
 * this is no dry run, memory behind it. */
static inline gf_status want(gf_backend *be, const char *op, const char *arg, gf_tensor t,
                             unsigned types, int rank, int64_t d0, int64_t d1, int64_t d2)
{
    const int64_t dim[3] = {d0, d1, d2};
    bool good = t.rank == rank && (unsigned)t.dtype < GF_DTYPES && (types >> t.dtype & 1u);
    for (int i = 0; good && i < 3; i++)
        good = i < rank ? (dim[i] == ANY_DIM ? t.dim[i] >= 0 : t.dim[i] == dim[i]) : t.dim[i] == 1;
    if (!good) {
        char is[80], wanted[80], type[96];
        text_of_dims(is, sizeof is, t.rank < 0 || t.rank > 3 ? 0 : t.rank, t.dim);
        text_of_dims(wanted, sizeof wanted, rank, dim);
        text_of_types(type, sizeof type, types);
        if (t.rank == 0)
            return gf_fail(&be->err, GF_ESHAPE, "%s: %s is missing, want %s [%s]", op, arg, type,
                           wanted);
        return gf_fail(&be->err, GF_ESHAPE, "%s: %s is %s [%s], want %s [%s]", op, arg,
                       gf_dtype_name(t.dtype), is, type, wanted);
    }
    const int64_t block = gf_dtype_block(t.dtype), width = gf_width(t);
    if (rank > 1 && (width % block != 0 || t.stride % block != 0))
        return gf_fail(&be->err, GF_ESHAPE,
                       "%s: %s is %s with rows of %lld elements, stride %lld; want multiples of "
                       "%lld",
                       op, arg, gf_dtype_name(t.dtype), (long long)width, (long long)t.stride,
                       (long long)block);
    if (t.dim[0] > 1 && (t.stride < width || (rank == 1 && t.stride != 1)))
        return gf_fail(&be->err, GF_ESHAPE, "%s: %s has stride %lld, want %s%lld", op, arg,
                       (long long)t.stride, rank == 1 ? "" : "at least ", (long long)width);
    if (!t.data && !be->dry && gf_count(t) > 0)
        return gf_fail(&be->err, GF_ESHAPE, "%s: %s has no data", op, arg);
    return GF_OK;
}

/* Without what leads to a member: "l->w" is w. */
static inline const char *arg_name(const char *text)
{
    const char *arrow = strstr(text, "->");
    return arrow ? arrow + 2 : text;
}

/* WANT(x, ...) inside a front door named by `op`. */
#define WANT(t, types, rank, ...) TRY(want(be, op, arg_name(#t), t, types, rank, __VA_ARGS__))
#define DIMS1(a) a, 1, 1
#define DIMS2(a, b) a, b, 1

/* Bytes that t's elements take. */
static inline int64_t bytes_of(gf_tensor t)
{
    return gf_is(t) ? gf_row_bytes(t.dtype, gf_width(t)) * t.dim[0] : 0;
}

/* The row covers its tokens in order without gaps, filler follows on a device only, and every k/v
 * range lies in [0, kv). */
static inline gf_status want_spans(gf_backend *be, const char *op, const gf_spans *row, int64_t n,
                                   int64_t kv)
{
    if (!row || row->count < 0 || (row->count > 0 && !row->span))
        return gf_fail(&be->err, GF_ESHAPE, "%s: row is missing", op);
    if (be->cuda ? row->tokens < 0 || row->tokens > n : row->tokens != n)
        return gf_fail(&be->err, GF_ESHAPE, "%s: row has %lld tokens, want %lld", op,
                       (long long)row->tokens, (long long)n);
    if (be->cuda && !be->dry && !row->work.data)
        return gf_fail(&be->err, GF_ESHAPE, "%s: row is not bound to the device", op);
    n = row->tokens;
    int64_t at = 0;
    for (int i = 0; i < row->count; i++) {
        const gf_span s = row->span[i];
        if (s.start != at || s.len < 0 || s.len > n - at)
            return gf_fail(&be->err, GF_ESHAPE,
                           "%s: span %d is tokens %lld+%lld of %lld, want start %lld", op, i,
                           (long long)s.start, (long long)s.len, (long long)n, (long long)at);
        if (kv >= 0 &&
            (s.kv_len < s.len || s.kv_start < 0 || s.kv_start > kv || s.kv_len > kv - s.kv_start))
            return gf_fail(
                &be->err, GF_ESHAPE, "%s: span %d of %lld tokens reads k/v %lld+%lld of %lld", op,
                i, (long long)s.len, (long long)s.kv_start, (long long)s.kv_len, (long long)kv);
        at += s.len;
    }
    if (at != n)
        return gf_fail(&be->err, GF_ESHAPE, "%s: spans end at token %lld of %lld", op,
                       (long long)at, (long long)n);
    return GF_OK;
}

/* Whether a row of n elements of a float type holds no Inf and no NaN: no exponent is all ones. */
static inline bool row_finite(gf_dtype t, const void *row, int64_t n)
{
    uint32_t bad = 0;
    if (t == GF_F32) {
        for (int64_t i = 0; i < n; i++) {
            uint32_t b;
            memcpy(&b, (const float *)row + i, sizeof b);
            bad |= (b & 0x7F800000u) == 0x7F800000u;
        }
    } else {
        const uint16_t mask = t == GF_BF16 ? 0x7F80u : 0x7C00u;
        for (int64_t i = 0; i < n; i++)
            bad |= (((const uint16_t *)row)[i] & mask) == mask;
    }
    return bad == 0;
}

/* What an op just wrote, on the host: the tensor itself on a CPU, a copy of a device's. */
static inline gf_status on_host(gf_backend *be, gf_tensor *t, void **copy)
{
    *copy = NULL;
    if (!be->cuda)
        return GF_OK;
    *copy = gf_alloc((size_t)bytes_of(*t), 1, &be->err);
    if (!*copy)
        return GF_ENOMEM;
    TRY(gf_download(be, *copy, *t));
    TRY(gf_wait(be));
    t->data = *copy;
    t->stride = gf_width(*t);
    return GF_OK;
}

static inline gf_status finite(gf_backend *be, const char *op, const char *arg, gf_tensor t)
{
    void *copy;
    if (!gf_is(t) || (t.dtype != GF_F32 && t.dtype != GF_BF16 && t.dtype != GF_F16))
        return GF_OK;
    gf_status st = on_host(be, &t, &copy);
    for (int64_t i = 0; st == GF_OK && i < t.dim[0]; i++)
        if (!row_finite(t.dtype, gf_row_at(t, i), gf_width(t))) {
            be->bad_row = i;
            st = gf_fail(&be->err, GF_ENUMERIC, "%s: %s (%s): row %lld is not finite", op, arg,
                         t.name ? t.name : "unnamed", (long long)i);
        }
    free(copy);
    return st;
}

/* Adds what the op at hand costs; its launches are counted from here. */
static inline void tally(gf_backend *be, int64_t flops, int64_t bytes)
{
    be->tally.flops += flops;
    be->tally.bytes += bytes;
    be->tally.calls++;
    be->cost = (gf_tally){.flops = flops,
                          .bytes = bytes,
                          .calls = 1,
                          .launches = -be->tally.launches,
                          .products = -be->tally.products};
}

static inline void tell(gf_backend *be, gf_at at)
{
    if (!be->meter.tell)
        return;
    be->cost.launches += be->tally.launches;
    be->cost.products += be->tally.products;
    be->meter.tell(be->meter.ctx, at, &be->cost);
}

/* Runs the twin unless this is a dry run (where a device's twin counts its launches), then looks at
 * the outputs if asked to. */
#define RUN(name, ...)                                                                             \
    do {                                                                                           \
        if (!be->dry || be->cuda)                                                                  \
            TRY(be->ops->name(be, __VA_ARGS__));                                                   \
        tell(be, GF_AT_##name);                                                                    \
        if (be->dry || !be->check)                                                                 \
            return GF_OK;                                                                          \
    } while (0)
#define FINITE(t) TRY(finite(be, op, #t, t))

#endif
