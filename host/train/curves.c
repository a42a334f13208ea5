/* curves.c - contract: curves.h. */
#include "train/curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static const char *const names[GF_CURVES] = {
#define X(name) #name,
    GF_CURVE_LIST(X)
#undef X
};

static void join(gf_curves_point *a, const gf_curves_point *b)
{
    a->last = b->last;
    a->count += b->count;
    for (int c = 0; c < GF_CURVES; c++) {
        a->sum[c] += b->sum[c];
        a->least[c] = fmin(a->least[c], b->least[c]);
        a->most[c] = fmax(a->most[c], b->most[c]);
    }
}

/* Every two neighbours become one. */
static void halve(gf_curves *h)
{
    for (int i = 0; i < h->points / 2; i++) {
        h->point[i] = h->point[2 * i];
        join(&h->point[i], &h->point[2 * i + 1]);
    }
    h->points /= 2;
    h->width *= 2;
}

gf_status gf_curves_step(gf_curves *h, int64_t step, const double value[GF_CURVES], gf_err *err)
{
    gf_curves_point p = {.last = step, .count = 1};
    if (!h->point && !(h->point = gf_alloc(GF_CURVES_POINTS, sizeof *h->point, err)))
        return GF_ENOMEM;
    if (!h->width)
        h->width = 1;
    memcpy(p.sum, value, sizeof p.sum);
    memcpy(p.least, value, sizeof p.least);
    memcpy(p.most, value, sizeof p.most);
    if (h->points && h->point[h->points - 1].count < h->width) {
        join(&h->point[h->points - 1], &p);
        return GF_OK;
    }
    if (h->points == GF_CURVES_POINTS)
        halve(h);
    h->point[h->points++] = p;
    return GF_OK;
}

gf_status gf_curves_eval(gf_curves *h, int64_t step, double loss, double accuracy, gf_err *err)
{
    if (h->evals == h->cap) {
        const size_t cap = h->cap ? 2 * h->cap : 64; /* a run has tens of evaluations */
        gf_curves_evaluation *e = gf_realloc(h->eval, cap, sizeof *e, err);
        if (!e)
            return GF_ENOMEM;
        h->eval = e;
        h->cap = cap;
    }
    h->eval[h->evals++] = (gf_curves_evaluation){step, loss, accuracy};
    return GF_OK;
}

/* ---- from metrics.jsonl ------------------------------------------------------------------- */

static gf_status add_line(gf_curves *h, const cJSON *line, const char *where, gf_err *err)
{
    int64_t step;
    double value[GF_CURVES], loss, accuracy;
    TRY(gf_json_int(&step, line, "step", 0, 0, INT64_MAX, where, err));
    if (cJSON_HasObjectItem(line, "loss")) {
        for (int c = 0; c < GF_CURVES; c++)
            TRY(gf_json_double(&value[c], line, names[c], NAN, where, err));
        return gf_curves_step(h, step, value, err);
    }
    if (!cJSON_HasObjectItem(line, "eval_loss"))
        return GF_OK;
    TRY(gf_json_double(&loss, line, "eval_loss", NAN, where, err));
    TRY(gf_json_double(&accuracy, line, "eval_accuracy", NAN, where, err));
    return gf_curves_eval(h, step, loss, accuracy, err);
}

gf_status gf_curves_read(gf_curves *h, const char *path, gf_err *err)
{
    char *text;
    size_t size;
    gf_status st = GF_OK;
    int number = 1;
    if (!gf_file_exists(path))
        return GF_OK;
    TRY(gf_file_read(path, &text, &size, err));
    for (const char *at = text, *end; st == GF_OK && (end = strchr(at, '\n')); at = end + 1) {
        cJSON *line = NULL;
        st = gf_json_parse(&line, at, (size_t)(end - at), path, number++, err);
        if (st == GF_OK)
            st = add_line(h, line, path, err);
        cJSON_Delete(line);
    }
    free(text);
    return st;
}

/* ---- to JSON -------------------------------------------------------------------------------- */

typedef enum { MEAN, LEAST, MOST } kind;

static double value_of(const gf_curves_point *p, int curve, kind k)
{
    return k == LEAST  ? p->least[curve]
           : k == MOST ? p->most[curve]
                       : p->sum[curve] / (double)p->count;
}

/* Six digits: finer than a picture can show. */
static gf_status put(gf_buf *out, int i, double x, gf_err *err)
{
    if (!isfinite(x))
        return gf_buf_str(out, i ? ",null" : "null", err);
    return gf_buf_printf(out, err, i ? ",%.6g" : "%.6g", x);
}

static gf_status put_curve(const gf_curves *h, int curve, kind k, gf_buf *out, gf_err *err)
{
    static const char *const ends[] = {[MEAN] = "", [LEAST] = "_least", [MOST] = "_most"};
    TRY(gf_buf_printf(out, err, ",\"%s%s\":[", names[curve], ends[k]));
    for (int i = 0; i < h->points; i++)
        TRY(put(out, i, value_of(&h->point[i], curve, k), err));
    return gf_buf_str(out, "]", err);
}

static gf_status put_evals(const gf_curves *h, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_str(out, ",\"eval\":{\"step\":[", err));
    for (size_t i = 0; i < h->evals; i++)
        TRY(gf_buf_printf(out, err, i ? ",%lld" : "%lld", (long long)h->eval[i].step));
    TRY(gf_buf_str(out, "],\"loss\":[", err));
    for (size_t i = 0; i < h->evals; i++)
        TRY(put(out, i > 0, h->eval[i].loss, err));
    TRY(gf_buf_str(out, "],\"accuracy\":[", err));
    for (size_t i = 0; i < h->evals; i++)
        TRY(put(out, i > 0, h->eval[i].accuracy, err));
    return gf_buf_str(out, "]}", err);
}

gf_status gf_curves_json(const gf_curves *h, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_printf(out, err, "{\"width\":%lld,\"step\":[", (long long)h->width));
    for (int i = 0; i < h->points; i++)
        TRY(gf_buf_printf(out, err, i ? ",%lld" : "%lld", (long long)h->point[i].last));
    TRY(gf_buf_str(out, "]", err));
    for (int c = 0; c < GF_CURVES; c++) {
        TRY(put_curve(h, c, MEAN, out, err));
        if (h->width > 1) {
            TRY(put_curve(h, c, LEAST, out, err));
            TRY(put_curve(h, c, MOST, out, err));
        }
    }
    TRY(put_evals(h, out, err));
    return gf_buf_str(out, "}", err);
}

void gf_curves_free(gf_curves *h)
{
    free(h->point);
    free(h->eval);
    *h = (gf_curves){0};
}
