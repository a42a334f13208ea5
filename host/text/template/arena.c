#include "text/template/arena.h"

#include <stdlib.h>
#include <string.h>

struct gf_jblock {
    gf_jblock *next;
    size_t used, cap;
    _Alignas(16) char data[];
};

static const size_t block_bytes = 16384; /* a render of a short conversation fits in one or two */

gf_status gf_jarena_charge(gf_jarena *a, size_t n, gf_err *err)
{
    if (n > a->limit - a->used)
        return gf_fail(err, GF_EINPUT, "the template needs more than %zu MiB", a->limit >> 20);
    a->used += n;
    return GF_OK;
}

static void *bump(gf_jarena *a, gf_jblock **head, size_t n, gf_err *err)
{
    if (gf_jarena_charge(a, n, err) != GF_OK)
        return NULL;
    gf_jblock *b = *head;
    if (b == NULL || n > b->cap - b->used) {
        /* blocks double so that a large render takes few of them */
        size_t cap = b == NULL ? block_bytes : b->cap * 2;
        cap = cap > 1u << 20 ? 1u << 20 : cap;
        cap = cap < n ? n : cap;
        gf_jblock *fresh = malloc(sizeof *fresh + cap);
        if (fresh == NULL) {
            gf_fail(err, GF_ENOMEM, "a template needs %zu bytes that cannot be had", cap);
            return NULL;
        }
        *fresh = (gf_jblock){.next = b, .used = 0, .cap = cap};
        *head = b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

void *gf_jarena_object(gf_jarena *a, size_t count, size_t size, gf_err *err)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n) || n > SIZE_MAX - 15) {
        gf_fail(err, GF_EINPUT, "the template asks for a list too long for memory");
        return NULL;
    }
    n = (n + 15) & ~(size_t)15; /* the alignment of max_align_t */
    void *p = bump(a, &a->objects, n, err);
    if (p != NULL)
        memset(p, 0, n);
    return p;
}

char *gf_jarena_chars(gf_jarena *a, size_t n, gf_err *err)
{
    return bump(a, &a->chars, n, err);
}

bool gf_jarena_extend(gf_jarena *a, const char *end, size_t n)
{
    gf_jblock *b = a->chars;
    if (b == NULL || end != b->data + b->used || n > b->cap - b->used || n > a->limit - a->used)
        return false;
    a->used += n;
    b->used += n;
    return true;
}

static void free_blocks(gf_jblock *b)
{
    while (b != NULL) {
        gf_jblock *next = b->next;
        free(b);
        b = next;
    }
}

void gf_jarena_free(gf_jarena *a)
{
    free_blocks(a->objects);
    free_blocks(a->chars);
    *a = (gf_jarena){0};
}
