/* config.json and generation_config.json of a base that came from a GGUF, in the spelling of
 * transformers 4 (rope_theta, rope_scaling, torch_dtype), which 5 reads too; 4 does not
 * know 5's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/family.h"

/* ---- RoPE divisors as llama3 parameters -------------------------------------------- */

/* Largest relative difference between a file's f32 divisors and those of the formula: both carry a
 * few f32 roundings. */
#define DIVISOR_TOLERANCE 1e-5

static bool same_divisors(const gf_rope_spec *fit, const float *plain, const float *divisor,
                          float *scaled)
{
    gf_rope_frequencies(scaled, fit, 0);
    for (int64_t i = 0; i < fit->rotary / 2; i++) {
        const double d = (double)plain[i] / (double)scaled[i];
        if (!(fabs(d - (double)divisor[i]) <= DIVISOR_TOLERANCE * d))
            return false;
    }
    return true;
}

/* Where 1 < d < F the formula of FORMATS 2.5 is s = (L/wl - lo) / (hi - lo) with
 * 1/d = (1-s)/F + s, a line in 1/wl. lo, hi and L count only up to a common scale, so lo = 1. */
static void fit_llama3(gf_rope_spec *fit, const float *plain, const float *divisor)
{
    const double two_pi = 6.28318530717958647692;
    const int64_t half = fit->rotary / 2;
    double x[2] = {0}, s[2] = {0};
    int found = 0;
    for (int64_t i = 0; i < half; i++) {
        const double d = (double)divisor[i];
        if (d <= 1.0 + DIVISOR_TOLERANCE || d >= fit->factor * (1 - DIVISOR_TOLERANCE))
            continue;
        const int at = found < 2 ? found : 1; /* the first and the last: the widest base */
        x[at] = (double)plain[i] / two_pi;
        s[at] = (1 / d - 1 / fit->factor) / (1 - 1 / fit->factor);
        found++;
    }
    fit->high_freq_factor = 4; /* Llama 3's, where the divisors leave it open */
    double original = 8192;    /* likewise */
    if (found >= 2) {
        const double slope = (s[1] - s[0]) / (x[1] - x[0]); /* L / (hi - 1) */
        const double origin = slope * x[0] - s[0];          /* 1 / (hi - 1) */
        fit->high_freq_factor = 1 + 1 / origin;
        const double tidy = round(fit->high_freq_factor * 16) / 16; /* written as such fractions */
        if (fabs(tidy - fit->high_freq_factor) < 1e-3 * tidy)       /* above the roundings of s */
            fit->high_freq_factor = tidy;
    }
    if (found >= 1)
        original = (s[0] * (fit->high_freq_factor - 1) + 1) / x[0];
    fit->original_max = isfinite(original) && original >= 1 && original <= (double)GF_MAX_POSITION
                            ? (int64_t)llround(original)
                            : 1;
}

/* Fills `fit` with default or llama3 parameters that make the divisors of `r`. */
static gf_status recover_scaling(gf_rope_spec *fit, const gf_rope_spec *r, const char *dir,
                                 gf_err *err)
{
    const int64_t half = r->rotary / 2;
    gf_status st = GF_OK;
    float *plain = gf_alloc((size_t)half, 2 * sizeof *plain, err);
    if (!plain)
        return GF_ENOMEM;
    *fit = *r;
    fit->divisor = NULL;
    gf_rope_frequencies(plain, fit, 0);
    double largest = 1;
    for (int64_t i = 0; i < half; i++)
        largest = fmax(largest, (double)r->divisor[i]);
    if (largest > 1) {
        const double whole = round(largest); /* factors are whole in all models so far */
        fit->type = GF_ROPE_LLAMA3;
        fit->factor = fabs(whole - largest) < DIVISOR_TOLERANCE * whole ? whole : largest;
        fit->low_freq_factor = 1;
        fit_llama3(fit, plain, r->divisor);
    }
    const bool usable = fit->type == GF_ROPE_DEFAULT ||
                        (isfinite(fit->high_freq_factor) && fit->high_freq_factor > 1);
    if (!usable || !same_divisors(fit, plain, r->divisor, plain + half))
        st = gf_fail(err, GF_EMISSING,
                     "%s: config.json cannot say what the GGUF's rope_freqs.weight says: its "
                     "divisors are not llama3's",
                     dir);
    free(plain);
    return st;
}

/* ---- JSON -------------------------------------------------------------------------- */

typedef struct {
    gf_buf buf;
    gf_err *err;
    gf_status st; /* of the first failure */
    bool first;   /* of its object */
    int indent;
} writer;

static void put(writer *w, gf_status st)
{
    if (w->st == GF_OK)
        w->st = st;
}

static void key(writer *w, const char *name)
{
    put(w, gf_buf_printf(&w->buf, w->err, "%s\n%*s\"%s\": ", w->first ? "" : ",", w->indent, "",
                         name));
    w->first = false;
}

static void put_int(writer *w, const char *name, int64_t x)
{
    key(w, name);
    put(w, gf_buf_printf(&w->buf, w->err, "%lld", (long long)x));
}

static void put_id(writer *w, const char *name, int32_t id)
{
    key(w, name);
    put(w, id < 0 ? gf_buf_str(&w->buf, "null", w->err)
                  : gf_buf_printf(&w->buf, w->err, "%d", (int)id));
}

/* The f32 of a GGUF as the decimal it came from: 1e-05, not 9.999999747378752e-06. */
static double tidy(float x)
{
    char text[32];                                  /* seven digits and an exponent */
    snprintf(text, sizeof text, "%.7g", (double)x); /* 7 digits */
    const double short_one = strtod(text, NULL);
    return (float)short_one == x ? short_one : (double)x;
}

/* Transformers 5 checks types: a float stays one. */
static void put_number(writer *w, double x)
{
    const size_t at = w->buf.len;
    put(w, gf_json_number(&w->buf, x, w->err));
    if (w->st == GF_OK && !strpbrk(w->buf.data + at, ".en"))
        put(w, gf_buf_str(&w->buf, ".0", w->err));
}

static void put_real(writer *w, const char *name, double x)
{
    key(w, name);
    put_number(w, x);
}

static void put_bool(writer *w, const char *name, bool x)
{
    key(w, name);
    put(w, gf_buf_str(&w->buf, x ? "true" : "false", w->err));
}

static void put_text(writer *w, const char *name, const char *x)
{
    key(w, name);
    put(w, gf_json_quote(&w->buf, x, strlen(x), w->err));
}

static void put_ids(writer *w, const char *name, const int32_t *ids, int count)
{
    if (count < 2) {
        put_id(w, name, count == 1 ? ids[0] : -1);
        return;
    }
    key(w, name);
    for (int i = 0; i < count; i++)
        put(w, gf_buf_printf(&w->buf, w->err, "%s%d", i > 0 ? ", " : "[", (int)ids[i]));
    put(w, gf_buf_str(&w->buf, "]", w->err));
}

static void open_object(writer *w)
{
    put(w, gf_buf_str(&w->buf, "{", w->err));
    w->first = true;
    w->indent += 2; /* Hugging Face's indent */
}

static void close_object(writer *w)
{
    w->indent -= 2;
    put(w, gf_buf_printf(&w->buf, w->err, "\n%*s}", w->indent, ""));
    w->first = false;
}

/* ---- the two files ----------------------------------------------------------------- */

static void put_floats(writer *w, const char *name, const float *x, int64_t count)
{
    key(w, name);
    for (int64_t i = 0; i < count; i++) {
        put(w, gf_buf_str(&w->buf, i > 0 ? ", " : "[", w->err));
        put_number(w, tidy(x[i]));
    }
    put(w, gf_buf_str(&w->buf, "]", w->err));
}

/* The factor that the class would find by itself is left out: transformers 4 takes Phi-3's three
 * keys and no more. */
static bool own_attention_factor(const gf_rope_spec *r)
{
    gf_rope_spec plain = *r;
    float unused[1];
    if (r->attention_factor <= 0)
        return false;
    plain.rotary = 0; /* no frequencies */
    plain.attention_factor = 0;
    const double usual = gf_rope_frequencies(unused, &plain, 0);
    return !(fabs(usual - r->attention_factor) <= DIVISOR_TOLERANCE * usual);
}

static void put_yarn(writer *w, const gf_rope_spec *r)
{
    put_real(w, "beta_fast", r->beta_fast);
    put_real(w, "beta_slow", r->beta_slow);
    if (r->mscale != 0)
        put_real(w, "mscale", r->mscale);
    if (r->mscale_all_dim != 0)
        put_real(w, "mscale_all_dim", r->mscale_all_dim);
    if (!r->truncate)
        put_bool(w, "truncate", false);
}

static void put_rope(writer *w, const gf_rope_spec *r)
{
    static const char *const names[] = {
        [GF_ROPE_DEFAULT] = "default", [GF_ROPE_LINEAR] = "linear",
        [GF_ROPE_DYNAMIC] = "dynamic", [GF_ROPE_LLAMA3] = "llama3",
        [GF_ROPE_YARN] = "yarn",       [GF_ROPE_LONGROPE] = "longrope"};
    key(w, "rope_scaling");
    if (r->type == GF_ROPE_DEFAULT) {
        put(w, gf_buf_str(&w->buf, "null", w->err));
        return;
    }
    open_object(w);
    if (own_attention_factor(r))
        put_real(w, "attention_factor", r->attention_factor);
    if (r->type == GF_ROPE_LONGROPE) {
        put_floats(w, "long_factor", r->long_factor, r->rotary / 2);
        put_floats(w, "short_factor", r->short_factor, r->rotary / 2);
    } else {
        put_real(w, "factor", r->factor);
    }
    if (r->type == GF_ROPE_LLAMA3) {
        put_real(w, "high_freq_factor", r->high_freq_factor);
        put_real(w, "low_freq_factor", r->low_freq_factor);
    }
    if (r->type == GF_ROPE_YARN)
        put_yarn(w, r);
    if (r->type == GF_ROPE_LLAMA3 || r->type == GF_ROPE_YARN)
        put_int(w, "original_max_position_embeddings", r->original_max);
    put_text(w, r->type == GF_ROPE_LONGROPE ? "type" : "rope_type", names[r->type]);
    close_object(w);
}

/* What RoPE has outside rope_scaling. */
static void put_ropes(writer *w, const gf_config *c, const gf_family *f, const gf_rope_spec *rope)
{
    put_rope(w, rope);
    put_real(w, "rope_theta", rope->theta);
    if (f->original_max > 0)
        put_int(w, "original_max_position_embeddings",
                rope->type == GF_ROPE_LONGROPE ? rope->original_max : f->original_max);
    if (f->partial_rotary && rope->rotary < c->K) {
        const double part = (double)rope->rotary / (double)c->K; /* which the reader multiplies */
        put_real(w, "partial_rotary_factor",
                 (int64_t)(part * (double)c->K) < rope->rotary ? nextafter(part, 1) : part);
    }
    if (f->rope_rule == GF_ROPE_LOCAL)
        put_real(w, "rope_local_base_freq", c->rope[1].theta);
    if (f->rope_rule != GF_ROPE_SKIPPED)
        return;
    key(w, "no_rope_layers");
    for (int64_t l = 0; l < c->L; l++)
        put(w, gf_buf_printf(&w->buf, w->err, "%s%d", l > 0 ? ", " : "[", c->rope_of[l] >= 0));
    put(w, gf_buf_str(&w->buf, "]", w->err));
}

static void put_windows(writer *w, const gf_config *c, const gf_family *f)
{
    int64_t window = 0;
    const bool listed = f->window_rule != GF_WINDOW_ALL;
    const bool switched = f->window_rule == GF_WINDOW_FROM || f->window_rule == GF_WINDOW_NO_ROPE;
    for (int64_t l = 0; l < c->L; l++)
        window = c->window[l] > 0 ? c->window[l] : window;
    if (f->window_rule == GF_WINDOW_NONE)
        return;
    if (listed && (window > 0 || f->window_rule == GF_WINDOW_PERIODIC)) {
        key(w, "layer_types");
        for (int64_t l = 0; l < c->L; l++)
            put(w, gf_buf_printf(&w->buf, w->err, "%s\"%s_attention\"", l > 0 ? ", " : "[",
                                 c->window[l] > 0 ? "sliding" : "full"));
        put(w, gf_buf_str(&w->buf, "]", w->err));
    }
    if (window == 0 && f->window_rule == GF_WINDOW_PERIODIC)
        window = f->window;   /* transformers wants a number even where no layer slides */
    key(w, "sliding_window"); /* absence would mean the default of the class */
    put(w, window > 0 ? gf_buf_printf(&w->buf, w->err, "%lld", (long long)window)
                      : gf_buf_str(&w->buf, "null", w->err));
    if (switched)
        put_bool(w, "use_sliding_window", window > 0);
}

static void put_cap(writer *w, const char *name, float cap)
{
    if (cap > 0) {
        put_real(w, name, tidy(cap));
    } else {
        key(w, name);
        put(w, gf_buf_str(&w->buf, "null", w->err));
    }
}

/* Gemma's and Granite's numbers. */
static void put_scales(writer *w, const gf_config *c, const gf_family *f)
{
    if (f->query_scalar > 0) {
        put_cap(w, "attn_logit_softcapping", c->attention_cap);
        put_cap(w, "final_logit_softcapping", c->logits_cap);
        put_int(w, "query_pre_attn_scalar", llround(c->query_scalar)); /* whole in a GGUF */
    }
    if (!f->multipliers)
        return;
    put_real(w, "attention_multiplier", tidy(c->attention_scale));
    put_real(w, "embedding_multiplier", tidy((float)c->by.embedding));
    put_real(w, "logits_scaling", tidy((float)c->by.logits));
    put_real(w, "residual_multiplier", tidy((float)c->by.residual));
}

static void put_config(writer *w, const gf_config *c, const gf_family *f, const gf_rope_spec *rope,
                       gf_dtype dtype)
{
    char list[96]; /* ["..."] around an architecture */
    snprintf(list, sizeof list, "[\"%s\"]", c->architecture);
    open_object(w);
    key(w, "architectures");
    put(w, gf_buf_str(&w->buf, list, w->err));
    if (f->bias_rule == GF_BIAS_KEY)
        put_bool(w, "attention_bias", c->attention_bias);
    put_id(w, "bos_token_id", c->bos);
    put_ids(w, "eos_token_id", c->eos, c->eos_count);
    put_int(w, "head_dim", c->K);
    put_text(w, f->act_key, c->act == GF_SILU ? "silu" : "gelu_pytorch_tanh");
    put_int(w, "hidden_size", c->D);
    put_int(w, "intermediate_size", c->F);
    put_int(w, "max_position_embeddings", c->max_position);
    if (f->mlp_bias_key)
        put_bool(w, "mlp_bias", c->mlp_bias);
    put_text(w, "model_type", c->family);
    put_int(w, "num_attention_heads", c->H);
    put_int(w, "num_hidden_layers", c->L);
    put_int(w, "num_key_value_heads", c->G);
    put_id(w, "pad_token_id", c->pad);
    put_real(w, "rms_norm_eps", tidy(c->eps));
    put_scales(w, c, f);
    put_ropes(w, c, f, rope);
    put_windows(w, c, f);
    put_bool(w, "tie_word_embeddings", c->tied);
    put_text(w, "torch_dtype",
             dtype == GF_F32    ? "float32"
             : dtype == GF_BF16 ? "bfloat16"
                                : "float16");
    put_int(w, "vocab_size", c->V);
    close_object(w);
}

static void put_generation(writer *w, const gf_config *c)
{
    open_object(w);
    if (c->bos >= 0)
        put_id(w, "bos_token_id", c->bos);
    if (c->eos_count > 0)
        put_ids(w, "eos_token_id", c->eos, c->eos_count);
    if (c->pad >= 0)
        put_id(w, "pad_token_id", c->pad);
    close_object(w);
}

static gf_status write_out(writer *w, const char *dir, const char *name, gf_err *err)
{
    put(w, gf_buf_str(&w->buf, "\n", err));
    gf_status st = w->st;
    char *path = st == GF_OK ? gf_path_join(dir, name, err) : NULL;
    if (st == GF_OK)
        st = path ? gf_file_write(path, w->buf.data, w->buf.len, err) : GF_ENOMEM;
    free(path);
    gf_buf_free(&w->buf);
    return st;
}

gf_status gf_config_write(const gf_config *c, const char *dir, gf_dtype dtype, gf_err *err)
{
    const gf_family *f = gf_family_by_name(c->family);
    gf_rope_spec rope = c->rope[0];
    if (!f)
        return gf_fail(err, GF_EMISSING, "%s: no config for the family %s", dir, c->family);
    if (c->rope[0].divisor)
        TRY(recover_scaling(&rope, &c->rope[0], dir, err));
    if (f->bias_rule == GF_BIAS_KEY && c->attention_bias != c->output_bias)
        return gf_fail(err, GF_EMISSING,
                       "%s: config.json cannot say that q, k, v have biases and o has none, or the "
                       "other way, in a %s model",
                       dir, f->name);
    writer w = {.err = err};
    put_config(&w, c, f, &rope, dtype);
    TRY(write_out(&w, dir, "config.json", err));
    writer g = {.err = err};
    put_generation(&g, c);
    return write_out(&g, dir, "generation_config.json", err);
}
