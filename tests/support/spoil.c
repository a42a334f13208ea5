/* spoil.c - see spoil.h. */
#include "support/spoil.h"

#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    cJSON *header;
    char *data;
    size_t size;
} tensors;

static void check(int ok, const char *path, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "spoil: %s: %s\n", path, what);
    abort();
}

char *spoil_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    check(f != NULL, path, "cannot be opened");
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*size + 1);
    check(data && fread(data, 1, *size, f) == *size, path, "cannot be read");
    data[*size] = 0;
    fclose(f);
    return data;
}

void spoil_write(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    check(f && fwrite(data, 1, size, f) == size && fclose(f) == 0, path, "cannot be written");
}

static tensors take(const char *path)
{
    size_t size;
    uint64_t header;
    char *file = spoil_read(path, &size);
    check(size > 8, path, "too short");
    memcpy(&header, file, 8);
    check(header < size - 8, path, "no safetensors file");
    tensors t = {.header = cJSON_ParseWithLength(file + 8, header), .size = size - 8 - header};
    check(t.header != NULL, path, "no header");
    t.data = malloc(t.size + 8);
    memcpy(t.data, file + 8 + header, t.size);
    free(file);
    return t;
}

static void put(const tensors *t, const char *path)
{
    char *text = cJSON_PrintUnformatted(t->header);
    const uint64_t header = strlen(text);
    FILE *f = fopen(path, "wb");
    check(f && fwrite(&header, 8, 1, f) == 1 && fwrite(text, header, 1, f) == 1 &&
              (t->size == 0 || fwrite(t->data, t->size, 1, f) == 1) && fclose(f) == 0,
          path, "cannot be written");
    free(text);
}

static double begin_of(const cJSON *item)
{
    return cJSON_GetObjectItem(item, "data_offsets")->child->valuedouble;
}

static double end_of(const cJSON *item)
{
    return cJSON_GetObjectItem(item, "data_offsets")->child->next->valuedouble;
}

static void set_offsets(cJSON *item, double begin, double end)
{
    const double both[] = {begin, end};
    cJSON_ReplaceItemInObject(item, "data_offsets", cJSON_CreateDoubleArray(both, 2));
}

/* Takes a tensor out, its data too. */
static void remove_tensor(tensors *t, cJSON *item)
{
    const double begin = begin_of(item), end = end_of(item);
    cJSON *other;
    memmove(t->data + (size_t)begin, t->data + (size_t)end, t->size - (size_t)end);
    t->size -= (size_t)(end - begin);
    cJSON_Delete(cJSON_DetachItemViaPointer(t->header, item));
    cJSON_ArrayForEach(other, t->header)
    {
        if (strcmp(other->string, "__metadata__") != 0 && begin_of(other) >= end)
            set_offsets(other, begin_of(other) - (end - begin), end_of(other) - (end - begin));
    }
}

static void add_tensor(tensors *t, const cJSON *like, const char *name)
{
    cJSON *item = cJSON_Duplicate(like, 1);
    const size_t bytes = (size_t)(end_of(like) - begin_of(like));
    set_offsets(item, (double)t->size, (double)(t->size + bytes));
    t->data = realloc(t->data, t->size + bytes);
    memset(t->data + t->size, 0, bytes);
    t->size += bytes;
    cJSON_AddItemToObject(t->header, name, item);
}

static void poison(tensors *t, const cJSON *item, int nan)
{
    char *at = t->data + (size_t)begin_of(item);
    const char *dtype = cJSON_GetObjectItem(item, "dtype")->valuestring;
    const uint32_t wide = nan ? 0x7fc00000 : 0x7f800000;
    const uint16_t half = nan ? 0x7e00 : 0x7c00, brain = (uint16_t)(wide >> 16);
    if (strcmp(dtype, "F32") == 0)
        memcpy(at, &wide, sizeof wide);
    else
        memcpy(at, strcmp(dtype, "BF16") == 0 ? &brain : &half, sizeof half);
}

static cJSON *parsed(const char *value)
{
    cJSON *v = cJSON_Parse(value);
    check(v != NULL, value, "is not JSON");
    return v;
}

void spoil_tensor(const char *path, const char *tensor, spoil_how how, const char *value)
{
    tensors t = take(path);
    cJSON *item = how == SPOIL_METADATA ? NULL : cJSON_GetObjectItem(t.header, tensor);
    check(how == SPOIL_METADATA || item, path, tensor);
    switch (how) {
    case SPOIL_DTYPE:
        cJSON_ReplaceItemInObject(item, "dtype", cJSON_CreateString(value));
        break;
    case SPOIL_SHAPE:
        cJSON_ReplaceItemInObject(item, "shape", parsed(value));
        break;
    case SPOIL_OFFSETS:
        cJSON_ReplaceItemInObject(item, "data_offsets", parsed(value));
        break;
    case SPOIL_SHIFT:
        set_offsets(item, begin_of(item) + atof(value), end_of(item) + atof(value));
        break;
    case SPOIL_RENAME:
        cJSON_AddItemToObject(t.header, value, cJSON_DetachItemViaPointer(t.header, item));
        break;
    case SPOIL_TWICE:
        cJSON_AddItemToObject(t.header, tensor, cJSON_Duplicate(item, 1));
        break;
    case SPOIL_REMOVE:
        remove_tensor(&t, item);
        break;
    case SPOIL_ADD:
        add_tensor(&t, item, value);
        break;
    case SPOIL_POISON:
        poison(&t, item, strcmp(value, "nan") == 0);
        break;
    case SPOIL_METADATA:
        cJSON_DeleteItemFromObject(t.header, "__metadata__");
        cJSON_AddItemToObject(t.header, "__metadata__", parsed(value));
        break;
    }
    put(&t, path);
    cJSON_Delete(t.header);
    free(t.data);
}
