/* made_model.h - folders and models made on the spot, for the tests of host/model. */
#ifndef GRAFT_TESTS_MADE_MODEL_H
#define GRAFT_TESTS_MADE_MODEL_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/safetensors.h"
#include "model/names.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        gf_err err_ = {0};                                                                         \
        gf_err *err = &err_;                                                                       \
        const gf_status ok_st_ = (expr);                                                           \
        cr_assert_eq(ok_st_, GF_OK, "%s:%d: %s: %s", __FILE__, __LINE__, #expr, err->text);        \
    } while (0)

/* A new folder under /tmp. */
static inline char *made_folder(void)
{
    char *dir = strdup("/tmp/graft-test-XXXXXX");
    cr_assert(dir && mkdtemp(dir));
    return dir;
}

static inline void made_free(char *dir)
{
    OK(gf_dir_remove(dir, err));
    free(dir);
}

static inline char *made_path(const char *dir, const char *name)
{
    char *path = gf_path_join(dir, name, NULL);
    cr_assert(path);
    return path;
}

static inline void made_text(const char *dir, const char *name, const char *text)
{
    char *path = made_path(dir, name);
    OK(gf_file_write(path, text, strlen(text), err));
    free(path);
}

static inline char *read_text(const char *dir, const char *name)
{
    char *path = made_path(dir, name), *text = NULL;
    size_t size = 0;
    OK(gf_file_read(path, &text, &size, err));
    free(path);
    return text;
}

/* Weights in [-1/8, 1/8) that every dtype holds exactly enough: any will do. */
static inline float made_value(uint64_t i)
{
    const uint64_t h = (i + 1) * UINT64_C(0x9E3779B97F4A7C15); /* golden ratio: spreads the bits */
    return (float)(int64_t)(h >> 40) / (float)(1 << 26) - 0.125F;
}

typedef struct {
    const char *drop;    /* leave this tensor out */
    const char *widen;   /* give this one a row too many */
    const char *add;     /* one more tensor [2] of that name */
    const char *integer; /* write this one as U8 */
    bool bare;           /* without "model." */
    gf_dtype dtype;
} made_options;

/* Writes DIR/model.safetensors with every tensor of DIR/config.json. */
static inline void made_weights(const char *dir, made_options o)
{
    gf_config c;
    OK(gf_config_read(&c, dir, err));
    const int64_t count = gf_names_count(&c);
    gf_name *names = calloc((size_t)count, sizeof *names);
    gf_st_decl *decl = calloc((size_t)count + 1, sizeof *decl);
    int n = 0;
    for (int64_t i = 0; i < count; i++) {
        gf_names_get(&names[i], &c, i);
        const char *name = names[i].name;
        if (o.drop && strcmp(o.drop, name) == 0)
            continue;
        decl[n] = (gf_st_decl){name, o.dtype, names[i].rank, {names[i].dim[0], names[i].dim[1]}};
        decl[n].dim[0] += o.widen && strcmp(o.widen, name) == 0;
        if (o.integer && strcmp(o.integer, name) == 0)
            decl[n].dtype = GF_U8;
        if (o.bare && strncmp(name, "model.", 6) == 0)
            decl[n].name = name + 6;
        n++;
    }
    if (o.add)
        decl[n++] = (gf_st_decl){o.add, o.dtype, 1, {2}};
    char *path = made_path(dir, "model.safetensors");
    gf_st_writer *w = NULL;
    OK(gf_st_writer_open(&w, path, decl, n, err));
    for (int at = gf_st_writer_next(w); at >= 0; at = gf_st_writer_next(w)) {
        const gf_st_decl *d = &decl[at];
        const int64_t elements = d->dim[0] * (d->rank > 1 ? d->dim[1] : 1);
        float *value = calloc((size_t)elements, sizeof *value);
        for (int64_t i = 0; i < elements; i++)
            value[i] = made_value((uint64_t)i + (uint64_t)at * 100003); /* another start each */
        void *data = calloc((size_t)elements, 4);                       /* 4: the widest type */
        if (d->dtype != GF_U8)
            gf_from_f32(d->dtype, data, value, elements);
        OK(gf_st_writer_data(w, data, (size_t)(elements * gf_dtype_size(d->dtype)), err));
        free(data);
        free(value);
    }
    OK(gf_st_writer_commit(w, err));
    free(path);
    free(decl);
    free(names);
    gf_config_free(&c);
}

#define TINY_SIZES                                                                                 \
    "\"hidden_size\": 32, \"intermediate_size\": 48, \"num_hidden_layers\": 2, "                   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 40, "                 \
    "\"max_position_embeddings\": 64"

#endif
