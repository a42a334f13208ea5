/* history.c - see history.h. */
#include "train/history.h"

#include <math.h>
#include <stdlib.h>

gf_status gf_history_add(gf_history *h, int64_t step, double loss, gf_err *err)
{
    const size_t count = (size_t)h->count + 1;
    int64_t *steps = gf_realloc(h->step, count, sizeof *steps, err);
    if (!steps)
        return GF_ENOMEM;
    h->step = steps;
    double *losses = gf_realloc(h->loss, count, sizeof *losses, err);
    if (!losses)
        return GF_ENOMEM;
    h->loss = losses;
    h->step[h->count] = step;
    h->loss[h->count++] = loss;
    return GF_OK;
}

void gf_history_free(gf_history *h)
{
    free(h->step);
    free(h->loss);
    *h = (gf_history){0};
}

int64_t gf_history_first(const gf_history *h)
{
    return h->count && h->step[0] == 0;
}

int64_t gf_history_best(const gf_history *h)
{
    int64_t best = -1;
    for (int64_t i = gf_history_first(h); i < h->count; i++)
        if (best < 0 || h->loss[i] < h->loss[best])
            best = i;
    return best;
}

int64_t gf_history_waited(const gf_history *h, double threshold)
{
    double best = (double)INFINITY;
    int64_t waited = 0;
    for (int64_t i = gf_history_first(h); i < h->count; i++) {
        const double loss = h->loss[i];
        waited = best - loss > threshold ? 0 : waited + 1;
        best = loss < best ? loss : best;
    }
    return waited;
}

gf_status gf_history_write(const gf_history *h, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_str(out, "[", err));
    for (int64_t i = 0; i < h->count; i++) {
        TRY(gf_buf_printf(out, err, "%s[%lld,", i ? "," : "", (long long)h->step[i]));
        TRY(gf_json_number(out, h->loss[i], err));
        TRY(gf_buf_str(out, "]", err));
    }
    return gf_buf_str(out, "]", err);
}

gf_status gf_history_read(gf_history *h, const cJSON *array, int64_t last, const char *where,
                          gf_err *err)
{
    const cJSON *pair;
    if (!array)
        return GF_OK;
    if (!cJSON_IsArray(array))
        return gf_fail(err, GF_EINPUT, "%s: evaluations: want an array, got %s", where,
                       gf_json_kind(array));
    cJSON_ArrayForEach(pair, array)
    {
        const cJSON *step = cJSON_IsArray(pair) ? pair->child : NULL,
                    *loss = step ? step->next : NULL;
        const double least = h->count ? (double)h->step[h->count - 1] + 1 : 0;
        if (!cJSON_IsNumber(step) || !cJSON_IsNumber(loss) || loss->next ||
            step->valuedouble != floor(step->valuedouble) || !(step->valuedouble >= least) ||
            !(step->valuedouble <= (double)last) || !isfinite(loss->valuedouble))
            return gf_fail(err, GF_EINPUT,
                           "%s: evaluations: entry %lld is not [step,loss] with a step that rises "
                           "up to %lld",
                           where, (long long)h->count, (long long)last);
        TRY(gf_history_add(h, (int64_t)step->valuedouble, loss->valuedouble, err));
    }
    return GF_OK;
}
