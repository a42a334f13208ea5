/* device_case.h - what the tests of CUDA twins share: a device or a visible skip, op_case tensors
 * in device memory with their guard bytes and gaps, rows with filler, comparison within a bound.
 *
 *     gf_backend be;
 *     device_open(&be);
 *     op_tensor x = op_make(GF_BF16, "x", n, d, 0, 8);
 *     op_fill(x.t, 1, 2.0);
 *     device_tensor dx = device_put(&be, &x);
 *     OP_OK(be, gf_rope(&be, dx.t, ...));
 *     device_get(&be, &dx, &x);                  // x is what the device made of it, guards whole
 *     device_near("rope", x.t, want.t, 0.0, 2 * U16);
 *     device_free(&be, &dx); op_free(&x);
 *     device_close(&be);
 *
 * Inside one test any number of tensors may be put before the ops run: everything is in stream
 * order, device_get waits. */
#ifndef GRAFT_TESTS_DEVICE_CASE_H
#define GRAFT_TESTS_DEVICE_CASE_H

#include "support/device_dump.h"

#define DEVICE_OK(be, call)                                                                        \
    cr_assert_eq((call), GF_OK, "%s: %s: %s", (be)->ops->name, #call, (be)->err.text)

/* Opens device 0. Without one the test is skipped; under GRAFT_REQUIRE_GPU=1, which the runs on the
 * test device set too, it fails. */
static inline void device_open(gf_backend *be)
{
    gf_err err = {0};
    const char *require = getenv("GRAFT_REQUIRE_GPU");
    const gf_status st = gf_backend_open_cuda(be, 0, &err);
    if (st == GF_EMISSING && !(require && strcmp(require, "1") == 0))
        cr_skip_test("no CUDA device: %s", err.text);
    cr_assert_eq(st, GF_OK, "%s", err.text);
}

static inline void device_close(gf_backend *be)
{
    cr_assert_eq(gf_wait(be), GF_OK, "%s", be->err.text);
    gf_backend_close(be);
}

/* An op_tensor's double: t is what ops take. */
typedef struct {
    gf_tensor t;
    void *memory;
    size_t bytes;
} device_tensor;

static inline gf_tensor device_whole(const device_tensor *d)
{
    return gf_view(d->memory, GF_U8, "memory", (int64_t)d->bytes, 0, 0);
}

static inline device_tensor device_put(gf_backend *be, const op_tensor *x)
{
    device_tensor d = {.t = x->t, .bytes = x->bytes};
    gf_err err = {0};
    cr_assert_eq(gf_backend_alloc(be, &d.memory, d.bytes, &err), GF_OK, "%s", err.text);
    d.t.data = (char *)d.memory + GUARD_ROOM;
    DEVICE_OK(be, gf_upload(be, device_whole(&d), x->memory));
    return d;
}

/* Waits, brings everything back into x, and looks at the guards. */
static inline void device_get(gf_backend *be, const device_tensor *d, op_tensor *x)
{
    DEVICE_OK(be, gf_download(be, x->memory, device_whole(d)));
    DEVICE_OK(be, gf_wait(be));
    cr_assert(op_guard_whole(x), "%s: bytes around the elements were written", x->t.name);
    device_dump(x->t);
}

static inline void device_free(gf_backend *be, device_tensor *d)
{
    gf_backend_free(be, d->memory);
    *d = (device_tensor){0};
}

/* Every element: |got - want| <= absolute + relative * |want|; NaN and Inf must be alike. */
static inline void device_near(const char *what, gf_tensor got, gf_tensor want, double absolute,
                               double relative)
{
    for (int64_t i = 0; i < want.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(want); j++) {
            const double a = op_get(got, i, j), b = op_get(want, i, j);
            const bool near = isfinite(b) ? fabs(a - b) <= absolute + relative * fabs(b)
                                          : (isnan(a) && isnan(b)) || a == b;
            cr_assert(near, "%s: %s[%lld,%lld] is %.9g, want %.9g", what, got.name, (long long)i,
                      (long long)j, a, b);
        }
}

/* ---- rows ------------------------------------------------------------------------------- */

/* Spans on the device with filler up to `n` rows: row->work is bound. */
typedef struct {
    gf_spans row;
    void *memory;
} device_row;

static inline device_row device_bind(gf_backend *be, gf_spans row, int64_t n, uint32_t epoch)
{
    device_row d = {.row = row};
    gf_err err = {0};
    const size_t bytes = gf_row_work_bytes(be, n);
    cr_assert_eq(gf_backend_alloc(be, &d.memory, bytes, &err), GF_OK, "%s", err.text);
    d.row.work = gf_view(d.memory, GF_U8, "work", (int64_t)bytes, 0, 0);
    DEVICE_OK(be, gf_row_bind(be, &d.row, n, epoch));
    return d;
}

static inline void device_unbind(gf_backend *be, device_row *d)
{
    gf_backend_free(be, d->memory);
    d->memory = NULL;
}

#endif
