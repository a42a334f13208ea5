/* linear_case.h - one group of linear layers twice: as the CPU's twin takes it, plain tensors one
 * by one, and in a device's layout, stacked and with tails. Same values, so that results can be
 * compared. */
#ifndef GRAFT_TESTS_LINEAR_CASE_H
#define GRAFT_TESTS_LINEAR_CASE_H

#include "support/device_case.h"

enum { ALIGN = 8, EXAMPLES = 6 };

typedef struct {
    int64_t n[3], r[3]; /* r 0: no adapter; n 0: no layer */
    int64_t k;
    gf_dtype type, y, dx; /* of the products; of y; of dx */
    bool bias, residual;
    float p;
    int64_t len[EXAMPLES]; /* tokens of each example; 0: none */
    int64_t filler;        /* rows behind them, on the device */
    bool separate;         /* the device's adapters as products of their own */
    int64_t s_gap;         /* elements between S's rows on the device */
} linear_case;

typedef enum {
    INTEGERS, /* small ones, powers of two as scales: nothing rounds but what is rounded on purpose
               */
    REALS,
    SIZES, /* the absolute values of REALS: results are the sums of what bounds are made of */
} linear_values;

/* ---- the CPU's side -----------------------------------------------------------------------------
 */

typedef struct {
    const linear_case *c;
    gf_span span[EXAMPLES];
    gf_spans row;
    gf_dropout drop;
    gf_fixed fixed;
    gf_group g;
    op_tensor w[3], bias[3], a[3], b[3], da[3], db[3];
    op_tensor x, y, s, residual, dy, dx, p, sums;
} linear_host;

static inline void linear_fill(gf_tensor t, linear_values values, uint64_t seed, int most)
{
    uint64_t state = seed * 7919u + 1u;
    for (int64_t i = 0; i < t.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(t); j++) {
            const double v = op_random(&state);
            if (values == INTEGERS)
                op_set(t, i, j, floor((v + 1) / 2 * (2 * most + 1)) - most);
            else
                op_set(t, i, j, v);
            if (values == SIZES) /* of the value as it was rounded */
                op_set(t, i, j, fabs(op_get(t, i, j)));
        }
}

static inline void linear_clear(op_tensor *x) /* i64 */
{
    for (int64_t i = 0; i < x->t.dim[0]; i++)
        memset(op_row(x->t, i), 0, (size_t)gf_width(x->t) * 8);
}

static inline void linear_layer(linear_host *h, int i, linear_values values)
{
    const linear_case *c = h->c;
    gf_linear *lin = &h->g.lin[i];
    const uint64_t seed = 10 * (uint64_t)i;
    h->w[i] = op_make(c->type, "w", c->n[i], c->k, 0, 0);
    linear_fill(h->w[i].t, values, seed + 1, 1);
    *lin = (gf_linear){.w = h->w[i].t, .module = (uint32_t)(3 + i)};
    lin->scale = values == INTEGERS ? 0.5f * (float)(1 << i) : 0.75f + (float)i;
    if (c->bias) {
        h->bias[i] = op_make(GF_F32, "bias", c->n[i], 0, 0, 0);
        linear_fill(h->bias[i].t, values, seed + 2, 3);
        for (int64_t j = 0; j < c->n[i] && c->y == GF_BF16; j++) /* as the device holds it */
            op_set(h->bias[i].t, j, 0,
                   (double)gf_bf16_to_f32(gf_f32_to_bf16((float)op_get(h->bias[i].t, j, 0))));
        lin->bias = h->bias[i].t;
    }
    if (!c->r[i])
        return;
    h->a[i] = op_make(GF_F32, "a", c->r[i], c->k, 0, 3);
    h->b[i] = op_make(GF_F32, "b", c->n[i], c->r[i], 0, 1);
    h->da[i] = op_make(GF_I64, "da", c->r[i], c->k, 0, 2);
    h->db[i] = op_make(GF_I64, "db", c->n[i], c->r[i], 0, 5);
    linear_fill(h->a[i].t, values, seed + 3, 1);
    linear_fill(h->b[i].t, values, seed + 4, 1);
    linear_clear(&h->da[i]);
    linear_clear(&h->db[i]);
    lin->a = h->a[i].t, lin->b = h->b[i].t, lin->da = h->da[i].t, lin->db = h->db[i].t;
}

static inline void linear_host_make(linear_host *h, const linear_case *c, linear_values values,
                                    int shift)
{
    *h = (linear_host){.c = c, .row = {.span = h->span}, .fixed = {.shift = shift}};
    for (int i = 0; i < EXAMPLES && c->len[i]; i++) {
        const int64_t at = h->row.tokens;
        h->span[i] = (gf_span){at, c->len[i], at, c->len[i], 100 + ((uint64_t)i << 31)};
        h->row.tokens += c->len[i];
        h->row.count = i + 1;
    }
    const int64_t tokens = h->row.tokens;
    h->drop = (gf_dropout){c->p, 0x123456789ABCDEFu, 2};
    for (; h->g.count < 3 && c->n[h->g.count]; h->g.count++)
        linear_layer(h, h->g.count, values);
    const int64_t n = gf_group_n(&h->g), rank = gf_group_rank(&h->g);
    h->x = op_make(c->type, "x", tokens, c->k, 0, 3);
    h->y = op_make(c->y, "y", tokens, n, 0, 5);
    h->dy = op_make(c->type, "dy", tokens, n, 0, 1);
    h->dx = op_make(c->dx, "dx", tokens, c->k, 0, 7);
    h->residual = op_make(GF_F32, "residual", tokens, n, 0, 2);
    h->sums = op_make(GF_I64, "sums", GF_SUMS, 0, 0, 0);
    linear_fill(h->x.t, values, 50, 2);
    linear_fill(h->dy.t, values, 51, 2);
    linear_fill(h->residual.t, values, 52, 5);
    linear_clear(&h->sums);
    h->fixed.sums = h->sums.t;
    if (rank) {
        h->s = op_make(c->type, "s", tokens, rank, 0, 1);
        h->p = op_make(c->type, "p", tokens, rank, 0, 3);
    }
}

static inline void linear_host_free(linear_host *h)
{
    for (int i = 0; i < 3; i++) {
        op_free(&h->w[i]), op_free(&h->bias[i]), op_free(&h->a[i]), op_free(&h->b[i]);
        op_free(&h->da[i]), op_free(&h->db[i]);
    }
    op_free(&h->x), op_free(&h->y), op_free(&h->s), op_free(&h->residual), op_free(&h->dy);
    op_free(&h->dx), op_free(&h->p), op_free(&h->sums);
}

static inline void linear_host_forward(gf_backend *be, linear_host *h)
{
    OP_OK(*be,
          gf_group_linear_fwd(be, h->y.t, h->s.t, h->x.t, h->c->residual ? h->residual.t : gf_none,
                              &h->g, &h->row, h->drop));
}

static inline void linear_host_backward(gf_backend *be, linear_host *h)
{
    OP_OK(*be, gf_group_linear_bwd(be, h->dx.t, h->p.t, h->dy.t, h->x.t, h->s.t, &h->g, &h->row,
                                   h->drop, &h->fixed));
}

/* ---- the device's side --------------------------------------------------------------------------
 */

/* A tensor on the host and on the device. */
typedef struct {
    op_tensor host;
    device_tensor device;
} linear_image;

typedef struct {
    const linear_case *c;
    device_row row;
    gf_dropout drop;
    gf_fixed fixed;
    gf_group g;
    linear_image w, bias, a[3], b[3], da[3], db[3];
    linear_image x, y, s, residual, dy, dx, sums;
    gf_tensor p; /* dy's tail */
    int64_t rows, k, n, tail;
} linear_device;

static inline int64_t linear_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Columns behind those of t, in the room of its rows. */
static inline gf_tensor linear_behind(gf_tensor t, int64_t first, int64_t count)
{
    t.dim[1] = t.stride;
    return gf_cols(t, first, count);
}

static inline void linear_put(gf_backend *be, linear_image *i)
{
    if (i->host.memory)
        i->device = device_put(be, &i->host);
}

static inline void linear_get(gf_backend *be, linear_image *i)
{
    if (i->host.memory)
        device_get(be, &i->device, &i->host);
}

/* [rows, columns] with the values of `from` at (row0, column0); what pads them is `fill`. */
static inline op_tensor linear_pad(gf_dtype type, const char *name, int64_t rows, int64_t columns,
                                   double fill)
{
    op_tensor x = op_make(type, name, rows, columns, 0, 16);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            op_set(x.t, i, j, fill);
    return x;
}
static inline void linear_place(gf_tensor to, int64_t row0, int64_t column0, gf_tensor from)
{
    for (int64_t i = 0; i < from.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(from); j++)
            op_set(to, row0 + i, column0 + j, op_get(from, i, j));
}

static inline op_tensor linear_zeros(gf_tensor like, int64_t gap)
{
    op_tensor x = op_make(GF_I64, like.name, like.dim[0], like.dim[1], 0, gap);
    linear_clear(&x);
    return x;
}

/* All W, zeros between them; the tails hold what group_tails has to write over. */
static inline void linear_stack(linear_device *d, const linear_host *h)
{
    const linear_case *c = h->c;
    d->w.host = linear_pad(c->type, "w", d->n + d->tail, d->k + d->tail, 0);
    const gf_tensor w = d->w.host.t;
    for (int64_t i = 0; i < w.dim[0]; i++)
        for (int64_t j = 0; j < w.dim[1]; j++)
            if (i >= d->n || j >= d->k)
                op_set(w, i, j, NAN);
    if (c->bias)
        d->bias.host = op_make(c->y, "bias", d->n, 0, 0, 0);
    for (int64_t j = 0; c->bias && j < d->n; j++)
        op_set(d->bias.host.t, j, 0, 0);
    for (int i = 0; i < d->g.count; i++) {
        const int64_t at = gf_group_column(&d->g, i);
        linear_place(w, at, 0, h->w[i].t);
        for (int64_t j = 0; c->bias && j < c->n[i]; j++)
            op_set(d->bias.host.t, at + j, 0, op_get(h->bias[i].t, j, 0));
        if (!c->r[i])
            continue;
        d->a[i].host = op_copy(h->a[i].t, c->k % 2);
        d->b[i].host = op_copy(h->b[i].t, 0);
        d->da[i].host = linear_zeros(h->da[i].t, i);
        d->db[i].host = linear_zeros(h->db[i].t, 0);
    }
}

/* Activations: rows of filler hold values that must count nowhere, tails what must be written over.
 */
static inline void linear_activations(linear_device *d, const linear_host *h)
{
    const linear_case *c = h->c;
    const int64_t rank = gf_group_rank(&h->g);
    d->x.host = linear_pad(c->type, "x", d->rows, d->k + d->tail, 3);
    d->dy.host = linear_pad(c->type, "dy", d->rows, d->n + d->tail, 2);
    for (int64_t t = 0; t < d->rows; t++) {
        for (int64_t j = c->k; j < d->k; j++)
            op_set(d->x.host.t, t, j, 0);
        for (int64_t j = 0; j < d->n; j++)
            op_set(d->dy.host.t, t, j, 0);
        for (int64_t j = 0; j < d->tail; j++) {
            op_set(d->x.host.t, t, d->k + j, NAN);
            op_set(d->dy.host.t, t, d->n + j, NAN);
        }
    }
    linear_place(d->x.host.t, 0, 0, h->x.t);
    d->y.host = linear_pad(c->y, "y", d->rows, d->n, NAN);
    d->dx.host = op_make(c->dx, "dx", d->rows, c->k, 0, linear_up(c->k, 16) - c->k + 16);
    if (c->residual)
        d->residual.host = linear_pad(GF_F32, "residual", d->rows, d->n, 0);
    for (int i = 0; i < d->g.count; i++) {
        const int64_t from = gf_group_column(&h->g, i), to = gf_group_column(&d->g, i);
        linear_place(d->dy.host.t, 0, to, gf_cols(h->dy.t, from, c->n[i]));
        for (int64_t t = h->row.tokens; t < d->rows; t++)
            for (int64_t j = 0; j < c->n[i]; j++)
                op_set(d->dy.host.t, t, to + j, 2);
        if (c->residual)
            linear_place(d->residual.host.t, 0, to, gf_cols(h->residual.t, from, c->n[i]));
    }
    if (rank) {
        d->s.host = op_make(c->type, "s", d->rows, rank, 0, c->s_gap);
        linear_fill(d->s.host.t, REALS, 77, 0);
        linear_place(d->s.host.t, 0, 0, h->s.t);
    }
    d->sums.host = op_make(GF_I64, "sums", GF_SUMS, 0, 0, 0);
    linear_clear(&d->sums.host);
}

static inline void linear_put_all(gf_backend *be, linear_device *d)
{
    linear_image *const all[] = {&d->w,        &d->bias, &d->x,  &d->y,   &d->s,
                                 &d->residual, &d->dy,   &d->dx, &d->sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        linear_put(be, all[i]);
    for (int i = 0; i < d->g.count; i++) {
        gf_linear *lin = &d->g.lin[i];
        linear_put(be, &d->a[i]), linear_put(be, &d->b[i]);
        linear_put(be, &d->da[i]), linear_put(be, &d->db[i]);
        lin->w = gf_cols(gf_rows(d->w.device.t, gf_group_column(&d->g, i), d->c->n[i]), 0, d->c->k);
        if (d->c->bias)
            lin->bias = gf_rows(d->bias.device.t, gf_group_column(&d->g, i), d->c->n[i]);
        lin->a = d->a[i].device.t, lin->b = d->b[i].device.t;
        lin->da = d->da[i].device.t, lin->db = d->db[i].device.t;
    }
    d->x.device.t.dim[1] = d->c->k;
    d->dy.device.t.dim[1] = d->n;
    d->fixed.sums = d->sums.device.t;
    if (d->tail)
        d->p = linear_behind(d->dy.device.t, d->n, gf_group_rank(&d->g));
}

/* As the device had them at first: i64 tensors of zeros. */
static inline void linear_put_zeros(gf_backend *be, linear_image *i)
{
    DEVICE_OK(be, gf_upload(be, device_whole(&i->device), i->host.memory));
}

/* S is h's, so that a backward pass can run by itself. */
static inline void linear_device_make(gf_backend *be, linear_device *d, const linear_host *h)
{
    const int64_t rank = gf_group_rank(&h->g);
    *d = (linear_device){.c = h->c, .drop = h->drop, .fixed = {.shift = h->fixed.shift}};
    d->rows = h->row.tokens + h->c->filler;
    d->tail = linear_up(rank, 16);
    d->g = (gf_group){.count = h->g.count, .align = ALIGN, .tail = d->tail};
    for (int i = 0; i < h->g.count; i++)
        d->g.lin[i] = (gf_linear){
            .w = h->g.lin[i].w, .scale = h->g.lin[i].scale, .module = h->g.lin[i].module};
    d->n = gf_group_n(&d->g);
    d->k = gf_group_k(&d->g);
    linear_stack(d, h);
    linear_activations(d, h);
    linear_put_all(be, d);
    d->row = device_bind(be, h->row, d->rows, h->drop.epoch);
    be->separate_lora = h->c->separate;
    DEVICE_OK(be, gf_group_tails(be, &d->g));
}

static inline void linear_device_free(gf_backend *be, linear_device *d)
{
    linear_image *const all[] = {&d->w,     &d->bias,  &d->x,    &d->y,     &d->s,     &d->residual,
                                 &d->dy,    &d->dx,    &d->sums, &d->a[0],  &d->a[1],  &d->a[2],
                                 &d->b[0],  &d->b[1],  &d->b[2], &d->da[0], &d->da[1], &d->da[2],
                                 &d->db[0], &d->db[1], &d->db[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->host.memory) {
            device_free(be, &all[i]->device);
            op_free(&all[i]->host);
        }
    device_unbind(be, &d->row);
}

static inline void linear_device_forward(gf_backend *be, linear_device *d)
{
    DEVICE_OK(be, gf_group_linear_fwd(be, d->y.device.t, d->s.device.t, d->x.device.t,
                                      d->c->residual ? d->residual.device.t : gf_none, &d->g,
                                      &d->row.row, d->drop));
}

static inline void linear_device_backward(gf_backend *be, linear_device *d)
{
    DEVICE_OK(be, gf_group_linear_bwd(be, d->dx.device.t, d->p, d->dy.device.t, d->x.device.t,
                                      d->s.device.t, &d->g, &d->row.row, d->drop, &d->fixed));
}

/* Everything that the ops wrote, with the guards looked at. */
static inline void linear_device_get(gf_backend *be, linear_device *d)
{
    linear_image *const all[] = {&d->x, &d->y, &d->s, &d->dy, &d->dx, &d->w, &d->sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        linear_get(be, all[i]);
    for (int i = 0; i < d->g.count; i++)
        linear_get(be, &d->da[i]), linear_get(be, &d->db[i]);
}

static inline int64_t linear_i64(gf_tensor t, int64_t row, int64_t i)
{
    int64_t v;
    memcpy(&v, (char *)op_row(t, row) + 8 * i, sizeof v);
    return v;
}

#endif
