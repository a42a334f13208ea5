/* torch.c - from the pickle's values to entries. Contract: format/torch.h. */
#include "format/torch.h"
#include "format/pickle.h"
#include "format/safetensors_dtype.h"
#include "format/torch_storage.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    gf_source *s;
    gf_torch_file file;
    gf_err *err;
} reader;

static gf_status fail(const reader *r, const char *name, const char *what)
{
    return gf_fail(r->err, GF_EINPUT, "%s: tensor \"%s\": %s", r->file.path, name, what);
}

static const gf_pickle_value *value(const reader *r, int i)
{
    return &r->file.pickle.value[i];
}

/* ---- one tensor -------------------------------------------------------------------- */

/* The arguments of the call that makes a tensor, through those that make parameters of it. */
static const gf_pickle_value *tensor_args(const reader *r, int i)
{
    for (;;) {
        const gf_pickle_value *v = value(r, i);
        if (v->kind != GF_PICKLE_CALL)
            return NULL;
        const gf_pickle_value *args = value(r, v->item[0]);
        if (v->number != GF_NAME_PARAMETER)
            return args->count >= 4 ? args : NULL; /* storage, offset, size, stride, … */
        if (args->count == 0)
            return NULL;
        i = args->item[0]; /* made before the call: this ends */
    }
}

/* Item i of a tuple of numbers >= 0. */
static bool number_at(const reader *r, const gf_pickle_value *tuple, int i, uint64_t *out)
{
    const gf_pickle_value *v = value(r, tuple->item[i]);
    *out = (uint64_t)v->number;
    return v->kind == GF_PICKLE_INT && v->number >= 0;
}

/* Whether the elements stand as the shape has them, without gaps. */
static bool is_contiguous(const uint64_t *dim, const uint64_t *stride, int rank)
{
    uint64_t next = 1;
    for (int i = rank - 1; i >= 0; i--) {
        if (dim[i] != 1 && stride[i] != next)
            return false;
        next *= dim[i];
    }
    return true;
}

enum { RANK_MAX = 16 }; /* more than any layer has */

/* Shape and strides, all of them inside the `room` elements behind the first one. */
static gf_status take_shape(const reader *r, gf_entry *e, const gf_pickle_value *args,
                            uint64_t room, uint64_t *count)
{
    const gf_pickle_value *size = value(r, args->item[2]), *step = value(r, args->item[3]);
    uint64_t dim[RANK_MAX], stride[RANK_MAX], last = 0, reach;
    if (size->kind != GF_PICKLE_TUPLE || step->kind != GF_PICKLE_TUPLE ||
        size->count != step->count || size->count > RANK_MAX)
        return fail(r, e->name, "its shape and strides are not two tuples of as many numbers");
    *count = 1;
    for (int i = 0; i < size->count; i++) {
        if (!number_at(r, size, i, &dim[i]) || !number_at(r, step, i, &stride[i]))
            return fail(r, e->name, "its shape or strides are not whole numbers from 0 on");
        if (!gf_mul(*count, dim[i], count) || *count > INT64_MAX)
            return fail(r, e->name, "its shape overflows 64 bits");
    }
    for (int i = 0; i < size->count && *count; i++)
        if (!gf_mul(dim[i] - 1, stride[i], &reach) || !gf_add(last, reach, &last))
            return fail(r, e->name, "its strides overflow 64 bits");
    if (*count && (last >= room || *count > room))
        return fail(r, e->name, "it reaches beyond its storage");
    e->strided = *count && !is_contiguous(dim, stride, size->count);
    const int folded = size->count > 4 ? size->count - 4 : 0;
    if (e->strided && folded)
        return fail(r, e->name, "it has more than 4 dimensions and is not contiguous: save it so");
    e->rank = size->count - folded;
    e->readable = e->readable && !folded;
    for (int i = 0; i < 4; i++)
        e->dim[i] = 1;
    for (int i = 0; i < size->count; i++) {
        const int to = i > folded ? i - folded : 0;
        e->dim[to] *= (int64_t)dim[i];
        e->stride[to] = (int64_t)stride[i];
    }
    return GF_OK;
}

static gf_status take_tensor(reader *r, gf_entry *e, int tensor)
{
    const gf_pickle_value *args = tensor_args(r, tensor);
    uint64_t first = 0, count = 0;
    gf_torch_storage from = {0};
    if (!args)
        return fail(r, e->name, "is not a tensor");
    TRY(gf_torch_find(&r->file, args->item[0], e->name, &from, r->err));
    const gf_st_dtype *t = from.dtype;
    e->dtype_text = t->name;
    e->readable = t->dtype >= 0;
    e->dtype = e->readable ? (gf_dtype)t->dtype : GF_F32;
    if (!number_at(r, args, 1, &first) || first > from.count)
        return fail(r, e->name, "it begins beyond its storage");
    TRY(take_shape(r, e, args, from.count - first, &count));
    e->offset = from.offset + first * (t->bits / 8);
    e->bytes = count * (t->bits / 8);
    return GF_OK;
}

/* ---- the dictionary ---------------------------------------------------------------- */

static bool is_text(const gf_pickle_value *v, const char *want)
{
    return v->kind == GF_PICKLE_TEXT && v->size == strlen(want) &&
           memcmp(v->text, want, v->size) == 0;
}

/* The dictionary of tensors: the value itself or what trainers put it into. */
static const gf_pickle_value *state_of(const reader *r, int top)
{
    const gf_pickle_value *v = value(r, top);
    for (int i = 0; v->kind == GF_PICKLE_DICT && i + 1 < v->count; i += 2) {
        const gf_pickle_value *key = value(r, v->item[i]), *in = value(r, v->item[i + 1]);
        if (in->kind == GF_PICKLE_DICT && (is_text(key, "state_dict") || is_text(key, "model")))
            return in;
    }
    return v->kind == GF_PICKLE_DICT ? v : NULL;
}

static gf_status take_entries(reader *r, int top)
{
    gf_source *s = r->s;
    const gf_pickle_value *state = state_of(r, top);
    if (!state)
        return gf_fail(r->err, GF_EINPUT, "%s: it holds no dictionary of tensors", r->file.path);
    const int more = state->count / 2;
    if (more > INT_MAX - s->count)
        return gf_fail(r->err, GF_EINPUT, "%s: more than 2^31 tensors", r->file.path);
    gf_entry *entry = gf_realloc(s->entry, (size_t)(s->count + more), sizeof *entry, r->err);
    if (!entry)
        return GF_ENOMEM;
    s->entry = entry;
    for (int i = 0; i < more; i++) {
        const gf_pickle_value *key = value(r, state->item[2 * i]);
        if (key->kind != GF_PICKLE_TEXT)
            return gf_fail(r->err, GF_EINPUT, "%s: the name of tensor %d is no text", r->file.path,
                           i);
        gf_entry *e = &s->entry[s->count];
        *e = (gf_entry){.file = s->files - 1};
        e->name = gf_strndup(key->text, key->size, r->err);
        if (!e->name)
            return GF_ENOMEM;
        s->count++; /* now, so that close frees the name */
        TRY(take_tensor(r, e, state->item[2 * i + 1]));
    }
    return GF_OK;
}

/* Keeps the mapping where a tensor of the file is read element by element. */
static void keep_map(reader *r)
{
    gf_source *s = r->s;
    for (int i = 0; i < s->count; i++)
        if (s->entry[i].file == s->files - 1 && s->entry[i].strided) {
            s->file[s->files - 1].map = r->file.map;
            r->file.map = (gf_map){0};
            return;
        }
}

gf_status gf_torch_add(gf_source *s, const char *path, gf_err *err)
{
    reader r = {.s = s, .err = err};
    uint64_t size = 0;
    int top = 0;
    gf_status st = gf_source_add_file(s, path, &size, err);
    if (st == GF_OK)
        st = gf_torch_read(&r.file, path, &top, err);
    if (st == GF_OK)
        st = take_entries(&r, top);
    if (st == GF_OK)
        keep_map(&r);
    gf_torch_free(&r.file);
    return st;
}

gf_status gf_torch_open(gf_source *s, const char *path, gf_err *err)
{
    *s = (gf_source){0};
    gf_status st = gf_torch_add(s, path, err);
    if (st == GF_OK)
        st = gf_source_index(s, err);
    if (st != GF_OK)
        gf_source_close(s);
    return st;
}
