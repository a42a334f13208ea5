/* metrics.c - see metrics.h. */
#include "train/metrics.h"

#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of the lines that belong to steps up to `step`; a line that is no JSON ends the
 * good part. */
static size_t kept_bytes(const char *text, size_t size, int64_t step)
{
    size_t kept = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        if (!end)
            break;
        cJSON *line = NULL;
        const size_t n = (size_t)(end - text) - at;
        int64_t of = 0;
        if (gf_json_parse(&line, text + at, n, "metrics", 1, NULL) != GF_OK)
            break;
        const gf_status st = gf_json_int(&of, line, "step", 0, 0, INT64_MAX, "metrics", NULL);
        cJSON_Delete(line);
        if (st != GF_OK || of > step)
            break;
        at += n + 1;
        kept = at;
    }
    return kept;
}

gf_status gf_metrics_open(FILE **f, const char *path, int64_t step, gf_err *err)
{
    if (step == 0 && gf_file_exists(path) && unlink(path))
        return gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
    if (step > 0 && gf_file_exists(path)) {
        char *text;
        size_t size;
        TRY(gf_file_read(path, &text, &size, err));
        const size_t kept = kept_bytes(text, size, step);
        free(text);
        if (truncate(path, (off_t)kept))
            return gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
    }
    *f = fopen(path, "ae");
    if (!*f)
        return gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
    return GF_OK;
}

/* One line, at once: a reader (tail -f) and a crash see whole lines. */
static gf_status put(FILE *f, gf_buf *line, const char *path, gf_status st, gf_err *err)
{
    if (st == GF_OK)
        st = gf_buf_str(line, "}\n", err);
    if (st == GF_OK && (fwrite(line->data, 1, line->len, f) != line->len || fflush(f)))
        st = gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
    gf_buf_free(line);
    return st;
}

static gf_status field(gf_buf *line, const char *key, double x, gf_err *err)
{
    TRY(gf_buf_printf(line, err, ",\"%s\":", key));
    return gf_json_number(line, x, err);
}

gf_status gf_metrics_step(FILE *f, const gf_step *s, const char *path, gf_err *err)
{
    gf_buf line = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_printf(&line, err, "{\"step\":%lld", (long long)s->step));
    TRYG(field(&line, "epoch", s->epoch, err));
    TRYG(field(&line, "loss", s->loss, err));
    TRYG(field(&line, "grad_norm", s->grad_norm, err));
    TRYG(field(&line, "learning_rate", s->learning_rate, err));
    TRYG(gf_buf_printf(&line, err, ",\"tokens\":%lld,\"trained_tokens\":%lld", (long long)s->tokens,
                       (long long)s->trained));
    TRYG(field(&line, "tokens_per_second", (double)s->tokens / s->seconds, err));
    if (s->captured + s->replayed)
        TRYG(field(&line, "replayed", (double)s->replayed / (double)(s->captured + s->replayed),
                   err));
    if (s->device.memory)
        TRYG(gf_buf_printf(&line, err,
                           ",\"gpu_utilization\":%u,\"gpu_power\":%u,\"gpu_temperature\":%u,"
                           "\"gpu_memory\":%llu",
                           s->device.busy, s->device.watts, s->device.celsius,
                           (unsigned long long)s->device.memory_used));
    if (s->shift != 40)
        TRYG(gf_buf_printf(&line, err, ",\"gradient_scale\":%d", s->shift));
out:
    return put(f, &line, path, st, err);
}

gf_status gf_metrics_eval(FILE *f, const gf_history *h, double accuracy, const char *path,
                          gf_err *err)
{
    gf_buf line = {0};
    gf_status st = GF_OK;
    const int64_t last = h->count - 1, best = gf_history_best(h);
    TRYG(gf_buf_printf(&line, err, "{\"step\":%lld", (long long)h->step[last]));
    TRYG(field(&line, "eval_loss", h->loss[last], err));
    TRYG(field(&line, "eval_accuracy", accuracy, err));
    if (best >= 0) {
        TRYG(gf_buf_printf(&line, err, ",\"best_step\":%lld", (long long)h->step[best]));
        TRYG(field(&line, "best_eval_loss", h->loss[best], err));
    }
out:
    return put(f, &line, path, st, err);
}
