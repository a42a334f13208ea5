/* write_report.c - what was written, how much of the adapter survived rounding, and how the logits
 * compare. See write_model.h. */
#include "cli/write_model.h"

#include "base/json.h"
#include "base/number.h"

#include <stdio.h>
#include <string.h>

/* ---- rounding -------------------------------------------------------------------------- */

static void print_line(const char *label, const gf_quality_row *sum, const gf_quality_row *least)
{
    const char *leaf = strrchr(least->name, '.'); /* lm_head has none */
    fprintf(stderr, "%8s  %13.3g  %14.3g  %5.1f %%  %5.1f %% %s\n", label, gf_quality_delta(sum),
            gf_quality_rounding(sum), 100 * gf_quality_kept(sum), 100 * gf_quality_kept(least),
            leaf ? leaf + 1 : least->name);
}

static void print_layer(const gf_quality *q, int64_t layer)
{
    gf_quality_row sum = {0};
    const gf_quality_row *least = NULL;
    char label[32];
    for (int i = 0; i < q->count; i++) {
        const gf_quality_row *r = &q->row[i];
        if (r->layer != layer)
            continue;
        gf_quality_sum(&sum, r);
        if (!least || gf_quality_kept(r) < gf_quality_kept(least))
            least = r;
    }
    snprintf(label, sizeof label, layer < 0 ? "outside" : "%lld", (long long)layer);
    if (least)
        print_line(label, &sum, least);
}

/* Layers by their numbers: a folder's tensors may stand in the order of their names. */
static void print_table(const gf_quality *q)
{
    int64_t last = -1;
    for (int i = 0; i < q->count; i++)
        last = q->row[i].layer > last ? q->row[i].layer : last;
    fprintf(stderr, "   layer  adapter (RMS)  rounding (RMS)     kept  least kept\n");
    for (int64_t layer = -1; layer <= last; layer++)
        print_layer(q, layer);
}

static int eaten(const gf_quality *q)
{
    int count = 0;
    for (int i = 0; i < q->count; i++)
        count += gf_quality_kept(&q->row[i]) < GF_QUALITY_KEPT_MIN;
    return count;
}

static void print_quality(const gf_written *w)
{
    const gf_quality *q = &w->merged.quality;
    const int bad = eaten(q);
    if (q->count == 0)
        return;
    print_table(q);
    if (bad > 0)
        fprintf(
            stderr,
            "graft: warning: rounding to %s takes more than %.0f %% of the adapter away in %d of "
            "%d modules; write a wider type (--dtype f32), or keep the adapter apart\n",
            gf_dtype_name(w->merged.dtype), 100 * (1 - GF_QUALITY_KEPT_MIN), bad, q->count);
}

/* ---- the rest -------------------------------------------------------------------------- */

static void print_written(const gf_options *o, const gf_written *w)
{
    const gf_merge_result *m = &w->merged;
    fprintf(stderr, "graft: %s: %lld tensors, %s of %s, in %s; at most %s of anonymous memory\n",
            o->output ? o->output : o->output_dir, (long long)m->tensors,
            gf_number_bytes_short((uint64_t)m->bytes).text, gf_dtype_name(m->dtype),
            gf_number_duration(w->seconds).text, gf_number_bytes_short(w->peak).text);
    if (m->fallbacks > 0)
        fprintf(stderr,
                "graft: note: rows of %lld tensors are no whole blocks of %s and stand in a wider "
                "type: %s in %s\n",
                (long long)m->fallbacks, gf_dtype_name(m->dtype), m->fallback,
                gf_dtype_name(m->fallback_dtype));
    if (w->note)
        fprintf(stderr, "graft: note: %s\n", w->note);
}

static void print_verified(const gf_written *w)
{
    const gf_verify *v = &w->verify;
    fprintf(stderr,
            "graft: verified on %lld tokens: logits differ by %.3g at most, %.3g on average, KL "
            "%.3g nats a token, %lld of %lld likeliest tokens agree; relative error %.2g, rounding "
            "explains %.2g\n",
            (long long)v->tokens, v->max, gf_verify_mean(v), gf_verify_kl(v), (long long)v->agree,
            (long long)v->tokens, gf_verify_error(v), w->bound);
}

/* ---- JSON ------------------------------------------------------------------------------ */

static gf_status put_number(gf_buf *b, const char *key, double x, gf_err *err)
{
    TRY(gf_buf_printf(b, err, ",\"%s\":", key));
    return gf_json_number(b, x, err);
}

static gf_status put_modules(gf_buf *b, const gf_quality *q, gf_err *err)
{
    TRY(gf_buf_str(b, ",\"modules\":[", err));
    for (int i = 0; i < q->count; i++) {
        const gf_quality_row *r = &q->row[i];
        TRY(gf_buf_printf(b, err, "%s{\"name\":\"%s\",\"layer\":%lld,\"dtype\":\"%s\"",
                          i ? "," : "", r->name, (long long)r->layer, gf_dtype_name(r->dtype)));
        TRY(put_number(b, "delta_rms", gf_quality_delta(r), err));
        TRY(put_number(b, "rounding_rms", gf_quality_rounding(r), err));
        TRY(put_number(b, "kept", gf_quality_kept(r), err));
        TRY(gf_buf_str(b, "}", err));
    }
    return gf_buf_str(b, "]", err);
}

static gf_status put_verified(gf_buf *b, const gf_written *w, gf_err *err)
{
    const gf_verify *v = &w->verify;
    TRY(gf_buf_printf(b, err, ",\"verify\":{\"tokens\":%lld,\"agree\":%lld", (long long)v->tokens,
                      (long long)v->agree));
    TRY(put_number(b, "max", v->max, err));
    TRY(put_number(b, "mean", gf_verify_mean(v), err));
    TRY(put_number(b, "kl", gf_verify_kl(v), err));
    TRY(put_number(b, "error", gf_verify_error(v), err));
    TRY(put_number(b, "bound", w->bound, err));
    return gf_buf_str(b, "}", err);
}

static gf_status print_json(const gf_options *o, const gf_written *w, gf_err *err)
{
    gf_buf b = {0};
    const char *path = o->output ? o->output : o->output_dir;
    gf_status st;
    TRYG(gf_buf_str(&b, "{\"output\":", err));
    TRYG(gf_json_quote(&b, path, strlen(path), err));
    TRYG(gf_buf_printf(&b, err,
                       ",\"dtype\":\"%s\",\"tensors\":%lld,\"bytes\":%lld,\"fallbacks\":%lld,"
                       "\"peak_anonymous_bytes\":%llu",
                       gf_dtype_name(w->merged.dtype), (long long)w->merged.tensors,
                       (long long)w->merged.bytes, (long long)w->merged.fallbacks,
                       (unsigned long long)w->peak));
    TRYG(put_number(&b, "seconds", w->seconds, err));
    TRYG(put_number(&b, "weight_error", w->merged.weight_error, err));
    TRYG(put_modules(&b, &w->merged.quality, err));
    if (w->verified)
        TRYG(put_verified(&b, w, err));
    TRYG(gf_buf_str(&b, "}\n", err));
    fwrite(b.data, 1, b.len, stdout);
out:
    gf_buf_free(&b);
    return st;
}

/* ---- all of it ------------------------------------------------------------------------- */

gf_status gf_write_report(const gf_options *o, const gf_written *w, gf_err *err)
{
    print_quality(w);
    print_written(o, w);
    if (w->verified)
        print_verified(w);
    if (o->json)
        TRY(print_json(o, w, err));
    const double error = w->verified ? gf_verify_error(&w->verify) : 0;
    if (error <= w->bound) /* not so if it is NaN */
        return GF_OK;
    return gf_fail(err, GF_ENUMERIC,
                   "%s: its logits are off by %.2g of their spread, where rounding explains %.2g: "
                   "do not use it, and report this",
                   o->output ? o->output : o->output_dir, error, w->bound);
}
