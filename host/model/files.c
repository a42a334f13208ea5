#include "model/files.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/bnb.h"
#include "format/folder.h"
#include "model/names.h"

static const char model_prefix[] = "model.";
#define MODEL_PREFIX (sizeof model_prefix - 1)

const gf_source *gf_files_source(const gf_files *f)
{
    return f->is_gguf ? &f->gguf.source : &f->shards;
}

const gf_entry *gf_files_find(const gf_files *f, const char *name)
{
    char gguf[64]; /* a GGUF name */
    if (f->is_gguf)
        return gf_names_to_gguf(gguf, &f->config, name) ? gf_source_find(&f->gguf.source, gguf)
                                                        : NULL;
    if (f->bare && strncmp(name, model_prefix, MODEL_PREFIX) == 0)
        name += MODEL_PREFIX;
    return gf_source_find(&f->shards, name);
}

/* ---- checks ------------------------------------------------------------------------ */

static void shape_text(char *buf, size_t size, const int64_t *dim, int rank)
{
    size_t at = (size_t)snprintf(buf, size, "[");
    for (int i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%lld", i > 0 ? ", " : "", (long long)dim[i]);
    if (at < size)
        snprintf(buf + at, size - at, "]");
}

static gf_status check_entry(const gf_files *f, const gf_name *want, const gf_entry *e, gf_err *err)
{
    if (!e)
        return gf_fail(err, GF_EINPUT, "%s: tensor %s is missing; a %s model of %lld layers has it",
                       f->path, f->is_gguf ? want->gguf : want->name, f->config.family,
                       (long long)f->config.L);
    bool same = e->rank == want->rank;
    for (int i = 0; i < want->rank && same; i++)
        same = e->dim[i] == want->dim[i];
    if (!same) {
        char has[128], needs[128]; /* four 64-bit numbers */
        shape_text(has, sizeof has, e->dim, e->rank);
        shape_text(needs, sizeof needs, want->dim, want->rank);
        return gf_fail(err, GF_EINPUT, "%s: tensor %s has the shape %s, the config wants %s",
                       f->path, e->name, has, needs);
    }
    const bool plain =
        e->readable && (e->dtype == GF_F32 || e->dtype == GF_F16 || e->dtype == GF_BF16);
    const bool blocks = e->readable && want->rank == 2 && gf_dtype_quantised(e->dtype);
    if (!plain && !blocks)
        return gf_fail(err, GF_EINPUT,
                       "%s: tensor %s has the dtype %s, which graft cannot use for it", f->path,
                       e->name, e->dtype_text);
    return GF_OK;
}

/* What is in files besides the weights and says nothing new (FORMATS 2.3). */
static bool ignored(const gf_files *f, const char *name)
{
    static const char suffix[] = "rotary_emb.inv_freq";
    if (f->is_gguf)
        return strcmp(name, "rope_freqs.weight") == 0 || /* read into rope */
               strcmp(name, "rope_factors_long.weight") == 0 ||
               strcmp(name, "rope_factors_short.weight") == 0;
    const size_t n = strlen(name);
    if (n >= sizeof suffix - 1 && strcmp(name + n - (sizeof suffix - 1), suffix) == 0)
        return true;
    return f->config.tied && strcmp(name, "lm_head.weight") == 0;
}

static gf_status check_tensors(const gf_files *f, gf_err *err)
{
    const gf_source *s = gf_files_source(f);
    const int64_t count = gf_names_count(&f->config);
    gf_status st = GF_OK;
    bool *seen = gf_alloc((size_t)s->count, sizeof *seen, err);
    if (!seen)
        return GF_ENOMEM;
    for (int64_t i = 0; i < count; i++) {
        gf_name want;
        gf_names_get(&want, &f->config, i);
        const gf_entry *e = gf_files_find(f, want.name);
        TRYG(check_entry(f, &want, e, err));
        seen[e - s->entry] = true;
    }
    for (int i = 0; i < s->count; i++) {
        if (!seen[i] && !ignored(f, s->entry[i].name)) {
            st = gf_fail(err, GF_EINPUT,
                         "%s: unexpected tensor %s: a %s model with this config has none of that "
                         "name",
                         f->path, s->entry[i].name, f->config.family);
            goto out;
        }
    }
out:
    free(seen);
    return st;
}

/* ---- opening ----------------------------------------------------------------------- */

/* Weights that bitsandbytes has quantised are read as what it dequantises them to. */
static gf_status fold_bnb(gf_files *f, gf_err *err)
{
    int folded = 0;
    if (!f->config.bnb)
        return GF_OK;
    TRY(gf_bnb_fold(&f->shards, &folded, err));
    if (folded == 0)
        return gf_fail(err, GF_EINPUT,
                       "%s: config.json has a quantization_config, but no weight is quantised: "
                       "take it out, or load and save the model with transformers",
                       f->path);
    return GF_OK;
}

static gf_status open_folder(gf_files *f, gf_err *err)
{
    TRY(gf_config_read(&f->config, f->path, err));
    TRY(gf_folder_open(&f->shards, f->path, err));
    TRY(fold_bnb(f, err));
    f->bare = !gf_source_find(&f->shards, "model.embed_tokens.weight") &&
              gf_source_find(&f->shards, "embed_tokens.weight");
    TRY(check_tensors(f, err));
    if (f->config.dtype == GF_DTYPES)
        f->config.dtype = gf_files_find(f, "model.embed_tokens.weight")->dtype;
    return GF_OK;
}

static gf_status open_gguf(gf_files *f, gf_err *err)
{
    f->is_gguf = true;
    TRY(gf_gguf_open(&f->gguf, f->path, err));
    TRY(gf_config_read_gguf(&f->config, &f->gguf, err));
    return check_tensors(f, err);
}

/* By its magic, so that a blob without the suffix opens too, or by its suffix, so that a damaged
 * one gets the GGUF reader's message. */
static bool looks_like_gguf(const char *path)
{
    static const char suffix[] = ".gguf";
    const size_t n = strlen(path);
    if (n >= sizeof suffix - 1 && strcmp(path + n - (sizeof suffix - 1), suffix) == 0)
        return true;
    char magic[4] = {0}; /* "GGUF" */
    FILE *file = fopen(path, "rb");
    const bool is = file && fread(magic, 1, sizeof magic, file) == sizeof magic &&
                    memcmp(magic, "GGUF", sizeof magic) == 0;
    if (file)
        fclose(file);
    return is;
}

gf_status gf_files_open(gf_files *f, const char *path, gf_err *err)
{
    *f = (gf_files){0};
    f->path = gf_strdup(path, err);
    if (!f->path)
        return GF_ENOMEM;
    gf_status st = GF_OK;
    if (gf_dir_exists(path))
        st = open_folder(f, err);
    else if (!gf_file_exists(path))
        st = gf_fail(err, GF_EINPUT, "%s: no such file or folder", path);
    else if (looks_like_gguf(path))
        st = open_gguf(f, err);
    else
        st = gf_fail(err, GF_EINPUT,
                     "%s: a model is a Hugging Face folder or a .gguf file, this is neither", path);
    if (st != GF_OK)
        gf_files_close(f);
    return st;
}

void gf_files_close(gf_files *f)
{
    gf_config_free(&f->config);
    gf_gguf_close(&f->gguf);
    gf_source_close(&f->shards);
    free(f->path);
    *f = (gf_files){0};
}

/* ---- rows -------------------------------------------------------------------------- */

int64_t gf_files_heads(const gf_files *f, gf_linear_id id)
{
    if (!f->config.gguf)
        return 0;
    return id == GF_Q ? f->config.H : id == GF_K ? f->config.G : 0;
}

static size_t row_bytes(const gf_entry *e)
{
    int64_t width = 1;
    for (int i = 1; i < e->rank; i++)
        width *= e->dim[i];
    return (size_t)gf_row_bytes(e->dtype, width);
}

/* Row j + s * half of a head (Hugging Face: two halves) is row 2j + s of it in the file. */
static int64_t file_row(int64_t in_head, int64_t half)
{
    return in_head < half ? 2 * in_head : 2 * (in_head - half) + 1;
}

static gf_status permuted_rows(const gf_source *src, const gf_entry *e, int64_t heads,
                               int64_t first, int64_t count, unsigned char *out, gf_err *err)
{
    const int64_t width = e->dim[0] / heads; /* rows of a head */
    const size_t size = row_bytes(e);
    unsigned char *head = gf_alloc((size_t)width, size, err);
    if (!head)
        return GF_ENOMEM;
    gf_status st = GF_OK;
    for (int64_t row = first; row < first + count;) {
        const int64_t start = row / width * width;
        TRYG(gf_source_read(src, e, (uint64_t)start * size, head, (size_t)width * size, err));
        for (; row < first + count && row < start + width; row++) {
            memcpy(out, head + (size_t)file_row(row - start, width / 2) * size, size);
            out += size;
        }
    }
out:
    free(head);
    return st;
}

static bool is_shifted(const gf_files *f, const gf_entry *e)
{
    static const char suffix[] = "norm.weight";
    const size_t n = strlen(e->name);
    return f->config.gguf_shifted && n >= sizeof suffix - 1 &&
           strcmp(e->name + n - (sizeof suffix - 1), suffix) == 0;
}

/* w of w + 1, in place. Between 1/2 and 2 the difference is exact; so is adding 1 to it again. */
static void shift_back(gf_dtype dtype, void *values, int64_t count)
{
    const int64_t size = gf_dtype_size(dtype);
    for (int64_t i = 0; i < count; i++) {
        void *at = (char *)values + i * size;
        float w = 0;
        gf_to_f32(&w, dtype, at, 1);
        w -= 1;
        gf_from_f32(dtype, at, &w, 1);
    }
}

gf_status gf_files_rows(const gf_files *f, const gf_entry *e, int64_t heads, int64_t first,
                        int64_t count, void *out, gf_err *err)
{
    assert(first >= 0 && count >= 0 && first + count <= e->dim[0]);
    const gf_source *src = gf_files_source(f);
    const size_t size = row_bytes(e);
    if (heads > 0 && count > 0)
        return permuted_rows(src, e, heads, first, count, out, err);
    TRY(gf_source_read(src, e, (uint64_t)first * size, out, (size_t)count * size, err));
    if (is_shifted(f, e))
        shift_back(e->dtype, out, count);
    return GF_OK;
}
