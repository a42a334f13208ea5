#include "model/export_parts.h"

#include "format/ggla.h"
#include "format/torch_write.h"
#include "model/family.h"
#include "model/names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one alpha for all ------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* The value that stands most often in a sorted list, 0 and (if `whole`) fractions left out; none:
 * 0. */
static float most_common(const float *sorted, int count, bool whole)
{
    float best = 0;
    int most = 0;
    for (int i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && !(sorted[next] > sorted[i]); next++)
            ;
        const bool fits = !whole || (sorted[i] == rintf(sorted[i]) && fabsf(sorted[i]) < 0x1p31f);
        if (sorted[i] != 0 && fits && next - i > most) {
            most = next - i;
            best = sorted[i];
        }
    }
    return best;
}

gf_status gf_export_scale_find(gf_export_scale *s, const gf_adapter *ad, int64_t r, gf_err *err)
{
    const size_t count = (size_t)ad->count;
    *s = (gf_export_scale){.factor = gf_alloc(count, sizeof *s->factor, err)};
    float *alpha = gf_alloc(count, sizeof *alpha, err); /* f32, as the files have it */
    float *sorted = gf_alloc(count, sizeof *sorted, err);
    gf_status st = s->factor && alpha && sorted ? GF_OK : GF_ENOMEM;
    for (int i = 0; st == GF_OK && i < ad->count; i++) {
        const gf_lora *lo = &ad->lora[i];
        alpha[i] = sorted[i] = (float)(lo->scale * (double)(r > 0 ? r : lo->r));
        if (!isfinite(alpha[i]))
            st = gf_fail(err, GF_EINPUT, "adapter_config.json: a scale of %g is out of range",
                         lo->scale);
    }
    if (st == GF_OK) {
        qsort(sorted, count, sizeof *sorted, by_value);
        const float common = most_common(sorted, ad->count, r > 0);
        s->alpha = common != 0 ? (double)common : r > 0 ? (double)r : 1.0;
        for (int i = 0; i < ad->count; i++) /* equal as f32 is equal in the file */
            s->factor[i] = (double)alpha[i] == s->alpha
                               ? 1.0
                               : ad->lora[i].scale * (double)(r > 0 ? r : ad->lora[i].r) / s->alpha;
    }
    free(alpha);
    free(sorted);
    if (st != GF_OK)
        gf_export_scale_free(s);
    return st;
}

void gf_export_scale_free(gf_export_scale *s)
{
    free(s->factor);
    *s = (gf_export_scale){0};
}

/* ---- one module ------------------------------------------------------------------------- */

static gf_status read_matrix(const gf_export *x, const gf_entry *e, float **out, gf_err *err)
{
    const int64_t count = e->dim[0] * e->dim[1];
    *out = gf_alloc((size_t)count, sizeof **out, err);
    void *raw = gf_alloc((size_t)count, sizeof **out, err);
    gf_status st =
        *out && raw ? gf_adapter_file_rows(x->file, e, 0, e->dim[0], raw, *out, err) : GF_ENOMEM;
    free(raw);
    for (int64_t i = 0; st == GF_OK && i < count; i++)
        if (!isfinite((*out)[i]))
            st = gf_fail(err, GF_EINPUT, "%s: %s holds %g; such an adapter is of no use",
                         x->file->source.file[0].path, e->name, (double)(*out)[i]);
    return st;
}

/* Rows as a GGUF has them: within each head the two halves of HF's rotary pairs interleaved
 * (FORMATS 6.5). */
static gf_status interleave(float **b, int64_t n, int64_t r, int64_t heads, gf_err *err)
{
    float *out = gf_alloc((size_t)n, (size_t)r * sizeof *out, err);
    if (!out)
        return GF_ENOMEM;
    const int64_t width = n / heads;
    for (int64_t row = 0; row < n; row++) {
        const int64_t within = row % width;
        const int64_t from = row - within + within / 2 + (within % 2 ? width / 2 : 0);
        memcpy(out + row * r, *b + from * r, (size_t)r * sizeof *out);
    }
    free(*b);
    *b = out;
    return GF_OK;
}

gf_status gf_export_transpose(float **m, int64_t rows, int64_t cols, gf_err *err)
{
    float *out = gf_alloc((size_t)rows, (size_t)cols * sizeof *out, err);
    if (!out)
        return GF_ENOMEM;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[j * rows + i] = (*m)[i * cols + j];
    free(*m);
    *m = out;
    return GF_OK;
}

bool gf_export_is_embedding(const gf_export *x, int i)
{
    return x->adapter->param[x->adapter->lora[i].a].kind == GF_PARAM_EMBED_A;
}

static const gf_family *family_of(const gf_export *x)
{
    return gf_family_by_name(x->base->family);
}

static gf_status fold(float *b, int64_t count, double factor, const char *path, const char *name,
                      gf_err *err)
{
    for (int64_t i = 0; i < count; i++) {
        b[i] = (float)((double)b[i] * factor);
        if (!isfinite(b[i]))
            return gf_fail(err, GF_EINPUT, "%s: %s times its scale is out of range", path, name);
    }
    return GF_OK;
}

gf_status gf_export_pair(const gf_export *x, int i, double factor, float **a, float **b,
                         gf_export_note *note, gf_err *err)
{
    const gf_lora *lo = &x->adapter->lora[i];
    const gf_entry *const matrix[] = {x->file->entry[lo->a], x->file->entry[lo->b]};
    const gf_family *family = family_of(x);
    gf_status st = GF_OK;
    *a = *b = NULL;
    TRYG(read_matrix(x, matrix[0], a, err));
    TRYG(read_matrix(x, matrix[1], b, err));
    note->modules++;
    if (factor != 1) {
        TRYG(fold(*b, lo->n * lo->r, factor, x->file->source.file[0].path, matrix[1]->name, err));
        note->folded++;
    }
    if (family && family->gguf_permuted && (lo->id == GF_Q || lo->id == GF_K)) {
        TRYG(interleave(b, lo->n, lo->r, lo->id == GF_Q ? x->base->H : x->base->G, err));
        note->permuted++;
    }
out:
    if (st != GF_OK) {
        free(*a);
        free(*b);
        *a = *b = NULL;
    }
    return st;
}

gf_status gf_export_weight_name(char out[64], const gf_export *x, int i, gf_err *err)
{
    const gf_lora *lo = &x->adapter->lora[i];
    char module[64], name[96];
    if ((lo->id == GF_EMBED || lo->id == GF_HEAD) && x->base && x->base->tied)
        return gf_fail(err, GF_EMISSING,
                       "LoRA on %s: the model's output head is its embedding, which such a file "
                       "cannot adapt for one of the two alone",
                       gf_module_name(module, lo->layer, lo->id));
    snprintf(name, sizeof name, "%s.weight", gf_module_name(module, lo->layer, lo->id));
    if (!gf_names_to_gguf(out, x->base, name))
        return gf_fail(err, GF_EMISSING, "%s has no name in a GGUF, so no adapter there", name);
    return GF_OK;
}

/* ---- ggla ------------------------------------------------------------------------------- */

static gf_status put_ggla(const gf_export *x, int i, double factor, gf_ggla_writer *w,
                          gf_export_note *note, gf_err *err)
{
    const gf_lora *lo = &x->adapter->lora[i];
    float *a = NULL, *b = NULL;
    char weight[64], name[72]; /* and ".loraA" */
    gf_status st = GF_OK;
    TRYG(gf_export_weight_name(weight, x, i, err));
    if (gf_export_is_embedding(x, i)) {
        st = gf_fail(err, GF_EARG, "%s: a ggla file holds no adapter of the embedding", weight);
        goto out;
    }
    TRYG(gf_export_pair(x, i, factor, &a, &b, note, err));
    TRYG(gf_export_transpose(&a, lo->r, lo->k, err));
    snprintf(name, sizeof name, "%s.loraA", weight);
    if (strlen(name) > GF_GGLA_NAME_MAX) {
        st = gf_fail(err, GF_EMISSING, "%s is too long a name for a ggla file", name);
        goto out;
    }
    TRYG(gf_ggla_matrix(w, name, a, lo->k, lo->r, err));
    snprintf(name, sizeof name, "%s.loraB", weight);
    TRYG(gf_ggla_matrix(w, name, b, lo->n, lo->r, err));
out:
    free(a);
    free(b);
    return st;
}

gf_status gf_export_ggla(const gf_export *x, const char *path, gf_export_note *note, gf_err *err)
{
    gf_export_scale scale = {0};
    gf_ggla_writer *w = NULL;
    gf_status st = GF_OK;
    const int64_t r = x->adapter->config.r;
    *note = (gf_export_note){0};
    TRYG(gf_export_scale_find(&scale, x->adapter, r, err));
    note->alpha = scale.alpha;
    TRYG(gf_ggla_open(&w, path, (int32_t)r, (int32_t)scale.alpha, err));
    for (int i = 0; i < x->adapter->count; i++)
        TRYG(put_ggla(x, i, scale.factor[i], w, note, err));
    gf_ggla_writer *finished = w;
    w = NULL; /* commit frees it, whatever happens */
    TRYG(gf_ggla_commit(finished, err));
out:
    gf_ggla_cancel(w);
    gf_export_scale_free(&scale);
    return st;
}

/* ---- adapter_model.bin ------------------------------------------------------------------ */

/* The B of "….lora_A.weight" or "….lora_embedding_A". */
static gf_status check_partner(const gf_source *s, const gf_entry *a, gf_err *err)
{
    char name[256];
    const char *path = s->file[a->file].path;
    const char *mark = strstr(a->name, ".lora_A");
    const size_t skip = mark ? strlen(".lora_") : strlen(".lora_embedding_");
    if (!mark)
        mark = strstr(a->name, ".lora_embedding_A");
    if (!mark)
        return GF_OK;
    if (strlen(a->name) >= sizeof name)
        return gf_fail(err, GF_EINPUT, "%s: %.80s...: too long a name", path, a->name);
    snprintf(name, sizeof name, "%s", a->name);
    name[(size_t)(mark - a->name) + skip] = 'B';
    const gf_entry *b = gf_source_find(s, name);
    if (!b)
        return gf_fail(err, GF_EINPUT, "%s: %s has no %s", path, a->name, name);
    if (a->rank != 2 || b->rank != 2 || a->dim[0] != b->dim[1])
        return gf_fail(err, GF_EINPUT,
                       "%s: %s [%lld, %lld] and its B [%lld, %lld] have not the same rank", path,
                       a->name, (long long)a->dim[0], (long long)a->dim[1], (long long)b->dim[0],
                       (long long)b->dim[1]);
    return GF_OK;
}

static gf_status check_tensors(const gf_source *s, gf_err *err)
{
    int pairs = 0;
    for (int i = 0; i < s->count; i++) {
        const gf_entry *e = &s->entry[i];
        if (!e->readable)
            return gf_fail(err, GF_EINPUT, "%s: %s is %s, which graft cannot write",
                           s->file[e->file].path, e->name, e->dtype_text);
        TRY(check_partner(s, e, err));
        pairs += strstr(e->name, ".lora_A") || strstr(e->name, ".lora_embedding_A");
    }
    if (!pairs)
        return gf_fail(err, GF_EINPUT, "%s: holds no LoRA matrix", s->file[0].path);
    return GF_OK;
}

static gf_status copy_tensor(const gf_source *s, const gf_entry *e, gf_torch_writer *w, gf_err *err)
{
    enum { SLICE = 1 << 20 }; /* bytes at a time */
    const size_t size = e->bytes < SLICE ? (size_t)e->bytes : SLICE;
    void *data = gf_alloc(size, 1, err);
    gf_status st = data ? GF_OK : GF_ENOMEM;
    for (uint64_t at = 0; st == GF_OK && at < e->bytes; at += size) {
        const size_t n = e->bytes - at < size ? (size_t)(e->bytes - at) : size;
        st = gf_source_read(s, e, at, data, n, err);
        if (st == GF_OK)
            st = gf_torch_writer_data(w, data, n, err);
    }
    free(data);
    return st;
}

gf_status gf_export_bin(const char *dir, const char *path, gf_err *err)
{
    gf_source s = {0};
    gf_torch_writer *w = NULL;
    gf_st_decl *decl = NULL;
    gf_status st = GF_OK;
    char *from = gf_path_join(dir, "adapter_model.safetensors", err);
    if (!from)
        return GF_ENOMEM;
    TRYG(gf_safetensors_open(&s, from, err));
    TRYG(check_tensors(&s, err));
    decl = gf_alloc((size_t)s.count, sizeof *decl, err);
    if (!decl) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < s.count; i++) {
        const gf_entry *e = &s.entry[i];
        decl[i] =
            (gf_st_decl){e->name, e->dtype, e->rank, {e->dim[0], e->dim[1], e->dim[2], e->dim[3]}};
    }
    TRYG(gf_torch_writer_open(&w, path, decl, s.count, err));
    for (int i = 0; i < s.count; i++)
        TRYG(copy_tensor(&s, &s.entry[i], w, err));
    gf_torch_writer *finished = w;
    w = NULL; /* commit frees it, whatever happens */
    TRYG(gf_torch_writer_commit(finished, err));
out:
    gf_torch_writer_cancel(w);
    gf_source_close(&s);
    free(decl);
    free(from);
    return st;
}
