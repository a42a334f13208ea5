/* adapter_io.c - a PEFT adapter folder to and from the flat adapter space (FORMATS 4.3). */
#include "model/adapter.h"

#include "format/torch.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

gf_status gf_adapter_open(gf_adapter *ad, const char *dir, const gf_config *model, gf_err *err)
{
    gf_peft_config config = {0};
    gf_status st = GF_OK;
    char *path = gf_path_join(dir, "adapter_config.json", err);
    if (!path)
        return GF_ENOMEM;
    TRYG(gf_peft_read_config(&config, path, err));
    TRYG(gf_adapter_adopt(ad, &config, model, err));
out:
    gf_peft_config_free(&config);
    free(path);
    return st;
}

/* ---- reading ------------------------------------------------------------------------- */

/* The tensor that PEFT calls `name`. Old files keep the adapter's name in it, and some write
 * ".weight" where others don't. */
static const gf_entry *find_name(const gf_source *s, const char *name)
{
    static const char weight[] = ".weight";
    char old[sizeof((gf_param *)0)->name + 16]; /* 16: ".default.weight" and its end */
    const size_t size = strlen(name), n = sizeof weight - 1;
    const bool weighted = size > n && !strcmp(name + size - n, weight);
    const int stem = (int)(weighted ? size - n : size);
    const char *const tail[] = {"", ".default", weight, ".default.weight"};
    for (int i = weighted ? 2 : 0; i < 4; i++) {
        snprintf(old, sizeof old, "%.*s%s", stem, name, tail[i]);
        const gf_entry *e = gf_source_find(s, old);
        if (e)
            return e;
    }
    return NULL;
}

static const char *shape_text(char buf[64], int rank, const int64_t *dim)
{
    int at = snprintf(buf, 64, "["); /* 64: the array's size; four numbers of a file fit */
    for (int i = 0; i < rank && at < 40; i++)
        at += snprintf(buf + at, 64 - (size_t)at, "%s%lld", i ? ", " : "", (long long)dim[i]);
    snprintf(buf + at, 64 - (size_t)at, "]");
    return buf;
}

static gf_status find_entry(const gf_entry **out, const gf_source *s, const gf_param *p,
                            gf_err *err)
{
    const char *path = s->file[0].path;
    const gf_entry *e = find_name(s, p->name);
    if (!e)
        return gf_fail(err, GF_EINPUT,
                       "%s: %s is missing, though adapter_config.json targets the module", path,
                       p->name);
    if (e->rank != p->rank || e->dim[0] != p->rows || (p->rank == 2 && e->dim[1] != p->cols)) {
        char is[64], wanted[64];
        return gf_fail(err, GF_EINPUT, "%s: %s has the shape %s, the config and the base want %s",
                       path, e->name, shape_text(is, e->rank, e->dim),
                       shape_text(wanted, p->rank, (const int64_t[]){p->rows, p->cols}));
    }
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
        return gf_fail(err, GF_EINPUT,
                       "%s: %s belongs to no module of the base that adapter_config.json targets",
                       path, name);
    }
    return GF_OK;
}

gf_status gf_adapter_source(gf_source *s, const char *dir, gf_err *err)
{
    char *path = gf_path_join(dir, "adapter_model.safetensors", err);
    char *old = gf_path_join(dir, "adapter_model.bin", err);
    gf_status st = GF_ENOMEM;
    if (path && old)
        st = !gf_file_exists(path) && gf_file_exists(old) ? gf_torch_open(s, old, err)
                                                          : gf_safetensors_open(s, path, err);
    free(path);
    free(old);
    return st;
}

gf_status gf_adapter_file_open(gf_adapter_file *f, const gf_adapter *ad, const char *dir,
                               gf_err *err)
{
    bool *seen = NULL;
    gf_status st = GF_OK;
    *f = (gf_adapter_file){0};
    TRY(gf_adapter_source(&f->source, dir, err));
    f->entry = gf_alloc((size_t)ad->params, sizeof *f->entry, err);
    seen = gf_alloc((size_t)f->source.count, sizeof *seen, err);
    if (!f->entry || !seen) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < ad->params; i++) {
        TRYG(find_entry(&f->entry[i], &f->source, &ad->param[i], err));
        seen[f->entry[i] - f->source.entry] = true;
    }
    TRYG(check_strangers(&f->source, seen, err));
out:
    free(seen);
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
    free(f->entry);
    *f = (gf_adapter_file){0};
}

gf_status gf_adapter_read(const gf_adapter *ad, float *value, const char *dir, gf_err *err)
{
    gf_adapter_file f;
    gf_status st = gf_adapter_file_open(&f, ad, dir, err);
    for (int i = 0; st == GF_OK && i < ad->params; i++) {
        const gf_entry *e = f.entry[i];
        void *raw = gf_alloc(e->bytes, 1, err);
        st = raw ? gf_adapter_file_rows(&f, e, 0, e->dim[0], raw, value + ad->param[i].at, err)
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
    gf_st_decl *decl = gf_alloc((size_t)ad->params, sizeof *decl, err);
    gf_st_writer *w = NULL;
    if (!decl)
        return GF_ENOMEM;
    for (int i = 0; i < ad->params; i++) {
        const gf_param *p = &ad->param[i];
        decl[i] = (gf_st_decl){p->name, GF_F32, p->rank, {p->rows, p->rank == 2 ? p->cols : 0}};
    }
    gf_status st = gf_st_writer_open(&w, path, decl, ad->params, err);
    for (int i; st == GF_OK && (i = gf_st_writer_next(w)) >= 0;) {
        const gf_param *p = &ad->param[i];
        st = gf_st_writer_data(w, value + p->at, (size_t)(p->rows * p->cols) * sizeof *value, err);
    }
    if (st == GF_OK)
        st = gf_st_writer_commit(w, err);
    else
        gf_st_writer_cancel(w);
    free(decl);
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
