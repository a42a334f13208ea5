/* zip.c - directory of a stored archive. Contract: format/zip.h; the format: PKWARE's APPNOTE.TXT
 * 4.3 (records) and 4.5.3 (zip64). */
#include "format/zip.h"
#include "base/utf8.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    END_SIZE = 22,       /* of the record at the end, without its comment */
    END64_SIZE = 56,     /* of its zip64 form */
    LOCATOR_SIZE = 20,   /* says where the zip64 form is; stands right before the end record */
    CENTRAL_SIZE = 46,   /* of an entry in the directory, without name, extra and comment */
    LOCAL_SIZE = 30,     /* of the header before an entry's data, without name and extra */
    COMMENT_MAX = 65535, /* a 16-bit length */
    EXTRA_ZIP64 = 1,     /* id of the field with 64-bit sizes */
    FLAG_ENCRYPTED = 1
};
#define SIGN_END 0x06054b50u /* "PK" and two numbers, little-endian */
#define SIGN_END64 0x06064b50u
#define SIGN_LOCATOR 0x07064b50u
#define SIGN_CENTRAL 0x02014b50u
#define SIGN_LOCAL 0x04034b50u
#define MOVED 0xFFFFFFFFu /* the value stands in the zip64 field */

typedef struct {
    const unsigned char *data;
    uint64_t size;
    const char *path;
    gf_err *err;
} reader;

typedef struct {
    uint64_t entries, size, offset;
} directory;

static gf_status fail_at(const reader *r, uint64_t at, const char *what)
{
    return gf_fail(r->err, GF_EINPUT, "%s: byte %llu: %s", r->path, (unsigned long long)at, what);
}

static bool inside(const reader *r, uint64_t at, uint64_t n)
{
    return at <= r->size && n <= r->size - at;
}

static uint16_t u16_at(const reader *r, uint64_t at)
{
    uint16_t v;
    memcpy(&v, r->data + at, sizeof v);
    return v;
}

static uint32_t u32_at(const reader *r, uint64_t at)
{
    uint32_t v;
    memcpy(&v, r->data + at, sizeof v);
    return v;
}

static uint64_t u64_at(const reader *r, uint64_t at)
{
    uint64_t v;
    memcpy(&v, r->data + at, sizeof v);
    return v;
}

/* ---- the end record ---------------------------------------------------------------- */

/* The last one whose comment reaches the file's end. */
static gf_status find_end(const reader *r, uint64_t *at)
{
    const uint64_t most = END_SIZE + COMMENT_MAX;
    const uint64_t low = r->size > most ? r->size - most : 0;
    if (r->size >= END_SIZE)
        for (uint64_t i = r->size - END_SIZE + 1; i-- > low;)
            if (u32_at(r, i) == SIGN_END && u16_at(r, i + 20) == r->size - i - END_SIZE) {
                *at = i;
                return GF_OK;
            }
    return gf_fail(r->err, GF_EINPUT,
                   "%s: the zip directory is not at the file's end: is the download complete?",
                   r->path);
}

static gf_status take_end64(const reader *r, uint64_t end, directory *d)
{
    if (end < LOCATOR_SIZE || u32_at(r, end - LOCATOR_SIZE) != SIGN_LOCATOR)
        return fail_at(r, end, "the zip64 directory has no locator");
    const uint64_t at = u64_at(r, end - LOCATOR_SIZE + 8);
    if (!inside(r, at, END64_SIZE) || u32_at(r, at) != SIGN_END64)
        return fail_at(r, end - LOCATOR_SIZE, "the zip64 directory is not where this points");
    *d = (directory){u64_at(r, at + 32), u64_at(r, at + 40), u64_at(r, at + 48)};
    return GF_OK;
}

static gf_status take_end(const reader *r, directory *d)
{
    uint64_t end = 0;
    TRY(find_end(r, &end));
    *d = (directory){u16_at(r, end + 10), u32_at(r, end + 12), u32_at(r, end + 16)};
    if (d->entries == 0xFFFF || d->size == MOVED || d->offset == MOVED)
        TRY(take_end64(r, end, d));
    if (!inside(r, d->offset, d->size) || d->offset + d->size > end)
        return fail_at(r, end, "the zip directory would lie outside the file");
    if (d->entries > d->size / CENTRAL_SIZE || d->entries > INT_MAX)
        return fail_at(r, end, "the zip directory has more entries than room");
    return GF_OK;
}

/* ---- entries ----------------------------------------------------------------------- */

/* Sizes and place that did not fit into 32 bits, in this order, those that are needed. */
static gf_status take_zip64(const reader *r, uint64_t at, uint64_t n, uint64_t *value[3])
{
    const uint64_t end = at + n;
    bool needed = false;
    for (int i = 0; i < 3; i++)
        needed = needed || *value[i] == MOVED;
    while (needed && end - at >= 4) {
        const uint64_t id = u16_at(r, at), size = u16_at(r, at + 2);
        at += 4;
        if (size > end - at)
            break;
        const uint64_t stop = at + size;
        for (int i = 0; id == EXTRA_ZIP64 && i < 3; i++)
            if (*value[i] == MOVED && stop - at >= 8) {
                *value[i] = u64_at(r, at);
                at += 8;
            }
        at = stop;
        needed = id != EXTRA_ZIP64;
    }
    return needed ? fail_at(r, end - n, "the zip64 sizes are missing") : GF_OK;
}

static gf_status take_name(const reader *r, uint64_t at, uint64_t n, gf_zip_entry *e)
{
    const char *s = (const char *)r->data + at;
    if (n == 0 || memchr(s, 0, n) || gf_utf8_valid(s, n) < n)
        return fail_at(r, at, "a zip entry's name is not valid UTF-8 text");
    e->name = gf_strndup(s, n, r->err);
    return e->name ? GF_OK : GF_ENOMEM;
}

static gf_status take_entry(const reader *r, uint64_t *at, uint64_t end, gf_zip_entry *e)
{
    const uint64_t c = *at;
    if (end - c < CENTRAL_SIZE || u32_at(r, c) != SIGN_CENTRAL)
        return fail_at(r, c, "no zip directory entry, but there should be more");
    const uint64_t name = u16_at(r, c + 28), extra = u16_at(r, c + 30), note = u16_at(r, c + 32);
    if (name + extra + note > end - c - CENTRAL_SIZE)
        return fail_at(r, c, "a zip directory entry reaches beyond the directory");
    TRY(take_name(r, c + CENTRAL_SIZE, name, e));
    if (u16_at(r, c + 8) & FLAG_ENCRYPTED)
        return fail_at(r, c, "a zip entry is encrypted");
    uint64_t packed = u32_at(r, c + 20), local = u32_at(r, c + 42);
    e->size = u32_at(r, c + 24);
    TRY(take_zip64(r, c + CENTRAL_SIZE + name, extra, (uint64_t *[]){&e->size, &packed, &local}));
    if (u16_at(r, c + 10) != 0 || packed != e->size)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: byte %llu: %s is compressed, torch stores entries as they are", r->path,
                       (unsigned long long)c, e->name);
    if (!inside(r, local, LOCAL_SIZE) || u32_at(r, local) != SIGN_LOCAL)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: byte %llu: %s does not begin where the zip "
                       "directory says",
                       r->path, (unsigned long long)c, e->name);
    e->offset = local + LOCAL_SIZE + u16_at(r, local + 26) + u16_at(r, local + 28);
    if (!inside(r, e->offset, e->size))
        return gf_fail(r->err, GF_EINPUT, "%s: byte %llu: %s reaches beyond the file", r->path,
                       (unsigned long long)c, e->name);
    *at = c + CENTRAL_SIZE + name + extra + note;
    return GF_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const gf_zip_entry *)a)->name, ((const gf_zip_entry *)b)->name);
}

gf_status gf_zip_read(gf_zip *z, const gf_map *m, const char *path, gf_err *err)
{
    const reader r = {m->data, m->size, path, err};
    directory d;
    *z = (gf_zip){0};
    TRY(take_end(&r, &d));
    z->entry = gf_alloc(d.entries, sizeof *z->entry, err);
    if (!z->entry)
        return GF_ENOMEM;
    uint64_t at = d.offset;
    for (uint64_t i = 0; i < d.entries; i++) {
        z->count++; /* first, so that free finds the name of an entry that fails */
        TRY(take_entry(&r, &at, d.offset + d.size, &z->entry[i]));
    }
    qsort(z->entry, (size_t)z->count, sizeof *z->entry, by_name);
    for (int i = 1; i < z->count; i++)
        if (strcmp(z->entry[i - 1].name, z->entry[i].name) == 0)
            return gf_fail(err, GF_EINPUT, "%s: the zip entry %s is there twice", path,
                           z->entry[i].name);
    return GF_OK;
}

const gf_zip_entry *gf_zip_find(const gf_zip *z, const char *name)
{
    const gf_zip_entry key = {.name = (char *)(uintptr_t)name};
    return z->count ? bsearch(&key, z->entry, (size_t)z->count, sizeof key, by_name) : NULL;
}

void gf_zip_free(gf_zip *z)
{
    for (int i = 0; i < z->count; i++)
        free(z->entry[i].name);
    free(z->entry);
    *z = (gf_zip){0};
}
