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

static void measure_row(gf_quality_error *e, gf_quality_row *r, const float *got, const float *want,
                        const float *base, const float *base_got, int64_t k)
{
    double error = 0, size = 0, delta = 0, kept = 0;
    for (int64_t i = 0; i < k; i++) {
        const double off = (double)got[i] - (double)want[i];
        error += off * off;
        size += (double)want[i] * (double)want[i];
    }
    for (int64_t i = 0; base && i < k; i++) {
        const double d = (double)want[i] - (double)base[i];
        delta += d * d;
        kept += d * ((double)got[i] - (double)base_got[i]);
    }
    e->error += error;
    e->size += size;
    e->elements += (double)k;
    if (!base)
        return;
    r->elements += (double)k;
    r->rounding += error;
    r->delta += delta;
    r->kept += kept;
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
        measure_row(e, r, got, want + row * k, base ? base + row * k : NULL, base_got, k);
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
