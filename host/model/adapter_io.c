/* adapter_io.c - a PEFT adapter folder to and from the flat adapter space (FORMATS 4.3). */
#include "model/adapter.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

enum { A_MATRIX, B_MATRIX, MATRICES };

/* Room for "base_model.model." + a module's name + ".lora_A.weight". */
typedef struct {
    char text[128];
} tensor_name;

static tensor_name name_of(const gf_lora *lo, int matrix, const char *middle)
{
    tensor_name name;
    char buf[64];
    snprintf(name.text, sizeof name.text, "base_model.model.%s.lora_%c%s.weight",
             gf_module_name(buf, lo->layer, lo->id), matrix == A_MATRIX ? 'A' : 'B', middle);
    return name;
}

gf_status gf_adapter_open(gf_adapter *ad, const char *dir, const gf_config *model, gf_err *err)
{
    gf_peft_config config = {0};
    gf_status st = GF_OK;
    char *path = gf_path_join(dir, "adapter_config.json", err);
    if (!path)
        return GF_ENOMEM;
    TRYG(gf_peft_read_config(&config, path, err));
    TRYG(gf_adapter_resolve(ad, &config, model, err));
out:
    gf_peft_config_free(&config);
    free(path);
    return st;
}

/* ---- reading ------------------------------------------------------------------------- */

static gf_status find_matrix(const gf_entry **out, const gf_source *s, const gf_lora *lo,
                             int matrix, gf_err *err)
{
    const int64_t rows = matrix == A_MATRIX ? lo->r : lo->n;
    const int64_t cols = matrix == A_MATRIX ? lo->k : lo->r;
    const char *path = s->file[0].path;
    const gf_entry *e = gf_source_find(s, name_of(lo, matrix, "").text);
    if (!e) /* files of peft before 0.3 keep the adapter's name */
        e = gf_source_find(s, name_of(lo, matrix, ".default").text);
    if (!e)
        return gf_fail(err, GF_EINPUT,
                       "%s: %s is missing, though adapter_config.json targets the module", path,
                       name_of(lo, matrix, "").text);
    if (e->rank != 2 || e->dim[0] != rows || e->dim[1] != cols)
        return gf_fail(err, GF_EINPUT,
                       "%s: %s has the shape [%lld, %lld], the config and the base want [%lld, "
                       "%lld]",
                       path, e->name, (long long)e->dim[0], (long long)e->dim[1], (long long)rows,
                       (long long)cols);
    if (!e->readable || (e->dtype != GF_F32 && e->dtype != GF_F16 && e->dtype != GF_BF16))
        return gf_fail(err, GF_EINPUT, "%s: %s is %s, want F32, F16 or BF16", path, e->name,
                       e->dtype_text);
    *out = e;
    return GF_OK;
}

/* PEFT saves the untouched embedding and head beside an adapter that once was about them. */
static bool is_base_copy(const char *tensor)
{
    static const char *const copies[] = {".embed_tokens.base_layer.weight",
                                         ".lm_head.base_layer.weight"};
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        const size_t n = strlen(tensor), m = strlen(copies[i]);
        if (n >= m && !strcmp(tensor + n - m, copies[i]))
            return true;
    }
    return false;
}

static gf_status check_strangers(const gf_source *s, const bool *seen, gf_err *err)
{
    const char *path = s->file[0].path;
    for (int i = 0; i < s->count; i++) {
        const char *name = s->entry[i].name;
        if (seen[i] || is_base_copy(name))
            continue;
        if (strstr(name, "embed_tokens") || strstr(name, "lm_head"))
            return gf_fail(err, GF_EMISSING,
                           "%s: %s: graft has no adapters of the embedding or the output head",
                           path, name);
        return gf_fail(err, GF_EINPUT,
                       "%s: %s belongs to no module of the base that adapter_config.json targets",
                       path, name);
    }
    return GF_OK;
}

gf_status gf_adapter_file_open(gf_adapter_file *f, const gf_adapter *ad, const char *dir,
                               gf_err *err)
{
    bool *seen = NULL;
    gf_status st = GF_OK;
    *f = (gf_adapter_file){0};
    char *path = gf_path_join(dir, "adapter_model.safetensors", err);
    if (!path)
        return GF_ENOMEM;
    TRYG(gf_safetensors_open(&f->source, path, err));
    f->matrix = gf_alloc((size_t)ad->count * MATRICES, sizeof *f->matrix, err);
    seen = gf_alloc((size_t)f->source.count, sizeof *seen, err);
    if (!f->matrix || !seen) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < MATRICES * ad->count; i++) {
        TRYG(find_matrix(&f->matrix[i], &f->source, &ad->lora[i / MATRICES], i % MATRICES, err));
        seen[f->matrix[i] - f->source.entry] = true;
    }
    TRYG(check_strangers(&f->source, seen, err));
out:
    free(seen);
    free(path);
    return st;
}

gf_status gf_adapter_file_rows(const gf_adapter_file *f, const gf_entry *e, int64_t first,
                               int64_t count, void *raw, float *out, gf_err *err)
{
    const uint64_t row = (uint64_t)gf_row_bytes(e->dtype, e->dim[1]);
    TRY(gf_source_read(&f->source, e, (uint64_t)first * row, raw, (size_t)count * row, err));
    gf_to_f32(out, e->dtype, raw, count * e->dim[1]);
    return GF_OK;
}

void gf_adapter_file_close(gf_adapter_file *f)
{
    gf_source_close(&f->source);
    free(f->matrix);
    *f = (gf_adapter_file){0};
}

gf_status gf_adapter_read(const gf_adapter *ad, float *value, const char *dir, gf_err *err)
{
    gf_adapter_file f;
    gf_status st = gf_adapter_file_open(&f, ad, dir, err);
    for (int i = 0; st == GF_OK && i < MATRICES * ad->count; i++) {
        const gf_lora *lo = &ad->lora[i / MATRICES];
        const gf_entry *e = f.matrix[i];
        void *raw = gf_alloc(e->bytes, 1, err);
        st = raw ? gf_adapter_file_rows(&f, e, 0, e->dim[0], raw,
                                        value + (i % MATRICES == A_MATRIX ? lo->a : lo->b), err)
                 : GF_ENOMEM;
        free(raw);
    }
    gf_adapter_file_close(&f);
    return st;
}

/* ---- writing ------------------------------------------------------------------------- */

static gf_status write_tensors(const gf_adapter *ad, const float *value, const char *path,
                               gf_err *err)
{
    const int count = MATRICES * ad->count;
    gf_st_decl *decl = gf_alloc((size_t)count, sizeof *decl, err);
    tensor_name *name = gf_alloc((size_t)count, sizeof *name, err);
    gf_st_writer *w = NULL;
    gf_status st = decl && name ? GF_OK : GF_ENOMEM;
    for (int i = 0; st == GF_OK && i < count; i++) {
        const gf_lora *lo = &ad->lora[i / MATRICES];
        const bool is_a = i % MATRICES == A_MATRIX;
        name[i] = name_of(lo, i % MATRICES, "");
        decl[i] = (gf_st_decl){.name = name[i].text, .dtype = GF_F32, .rank = 2};
        decl[i].dim[0] = is_a ? lo->r : lo->n;
        decl[i].dim[1] = is_a ? lo->k : lo->r;
    }
    if (st == GF_OK)
        st = gf_st_writer_open(&w, path, decl, count, err);
    for (int i; st == GF_OK && (i = gf_st_writer_next(w)) >= 0;) {
        const gf_lora *lo = &ad->lora[i / MATRICES];
        st = gf_st_writer_data(w, value + (i % MATRICES == A_MATRIX ? lo->a : lo->b),
                               (size_t)(decl[i].dim[0] * decl[i].dim[1]) * sizeof *value, err);
    }
    if (st == GF_OK)
        st = gf_st_writer_commit(w, err);
    else
        gf_st_writer_cancel(w);
    free(decl);
    free(name);
    return st;
}

gf_status gf_adapter_write(const gf_adapter *ad, const float *value, const char *dir, gf_err *err)
{
    gf_status st = GF_OK;
    char *config = gf_path_join(dir, "adapter_config.json", err);
    char *tensors = gf_path_join(dir, "adapter_model.safetensors", err);
    if (!config || !tensors) {
        st = GF_ENOMEM;
        goto out;
    }
    TRYG(gf_dir_make(dir, err));
    TRYG(write_tensors(ad, value, tensors, err));
    TRYG(gf_peft_write_config(&ad->config, config, err));
out:
    free(config);
    free(tensors);
    return st;
}
