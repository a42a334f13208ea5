#include "model/quality.h"

#include <math.h>
#include <stdlib.h>

double gf_quality_delta(const gf_quality_row *r)
{
    return sqrt(r->delta / r->elements);
}

double gf_quality_rounding(const gf_quality_row *r)
{
    return sqrt(r->rounding / r->elements);
}

double gf_quality_kept(const gf_quality_row *r)
{
    return r->delta > 0 ? r->kept / r->delta : 1; /* nothing to lose */
}

void gf_quality_sum(gf_quality_row *to, const gf_quality_row *r)
{
    to->elements += r->elements;
    to->delta += r->delta;
    to->rounding += r->rounding;
    to->kept += r->kept;
}

/* Sums of a row in f32, LANES side by side so that they need not wait for each other; rows are
 * added up in f64. */
#define LANES 16

static double sum_lanes(const float *lane)
{
    double sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += (double)lane[i];
    return sum;
}

static void measure_error(gf_quality_error *e, const float *got, const float *want, int64_t k)
{
    float error[LANES] = {0}, size[LANES] = {0};
    for (int64_t i = 0; i < k; i += LANES) {
        const int n = k - i < LANES ? (int)(k - i) : LANES;
        for (int j = 0; j < n; j++) {
            const float off = got[i + j] - want[i + j];
            error[j] += off * off;
            size[j] += want[i + j] * want[i + j];
        }
    }
    e->error += sum_lanes(error);
    e->size += sum_lanes(size);
}

static void measure_delta(gf_quality_row *r, const float *got, const float *want, const float *base,
                          const float *base_got, int64_t k)
{
    float delta[LANES] = {0}, kept[LANES] = {0};
    for (int64_t i = 0; i < k; i += LANES) {
        const int n = k - i < LANES ? (int)(k - i) : LANES;
        for (int j = 0; j < n; j++) {
            const float d = want[i + j] - base[i + j];
            delta[j] += d * d;
            kept[j] += d * (got[i + j] - base_got[i + j]);
        }
    }
    r->delta += sum_lanes(delta);
    r->kept += sum_lanes(kept);
    r->elements += (double)k;
}

void gf_quality_measure(gf_quality_error *e, gf_quality_row *r, gf_dtype t, const void *written,
                        const float *want, const float *base, int64_t rows, int64_t k,
                        float *scratch)
{
    float *got = scratch, *base_got = got + k;
    void *base_written = base_got + k;
    const size_t size = (size_t)gf_row_bytes(t, k);
    for (int64_t row = 0; row < rows; row++) {
        gf_to_f32(got, t, (const unsigned char *)written + (size_t)row * size, k);
        if (base) {
            gf_from_f32(t, base_written, base + row * k, k);
            gf_to_f32(base_got, t, base_written, k);
        }
        const double before = e->error;
        measure_error(e, got, want + row * k, k);
        if (!base)
            continue;
        measure_delta(r, got, want + row * k, base + row * k, base_got, k);
        r->rounding += e->error - before;
    }
}

gf_status gf_quality_add(gf_quality *q, const gf_quality_row *r, gf_err *err)
{
    gf_quality_row *row = gf_realloc(q->row, (size_t)q->count + 1, sizeof *row, err);
    if (!row)
        return GF_ENOMEM;
    q->row = row;
    q->row[q->count++] = *r;
    return GF_OK;
}

void gf_quality_free(gf_quality *q)
{
    free(q->row);
    *q = (gf_quality){0};
}
