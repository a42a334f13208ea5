/* status.c - error text, allocation that reports, growing strings. Contract: graft/base.h. */
#include "graft/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gf_status gf_fail(gf_err *err, gf_status code, const char *fmt, ...)
{
    if (!err || err->code != GF_OK)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->code = code;
    return code;
}

int gf_exit_code(gf_status status)
{
    switch (status) {
#define X(name, exit_code, text)                                                                   \
    case name:                                                                                     \
        return exit_code;
        GF_STATUS_LIST(X)
#undef X
    }
    return 1;
}

const char *gf_status_text(gf_status status)
{
    switch (status) {
#define X(name, exit_code, text)                                                                   \
    case name:                                                                                     \
        return text;
        GF_STATUS_LIST(X)
#undef X
    }
    return "failed";
}

void *gf_alloc(size_t count, size_t size, gf_err *err)
{
    uint64_t bytes;
    void *p = NULL;
    if (gf_mul(count, size, &bytes) && bytes <= PTRDIFF_MAX)
        p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        gf_fail(err, GF_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

void *gf_realloc(void *old, size_t count, size_t size, gf_err *err)
{
    uint64_t bytes;
    void *p = NULL;
    if (gf_mul(count, size, &bytes) && bytes <= PTRDIFF_MAX)
        p = realloc(old, bytes ? bytes : 1);
    if (!p)
        gf_fail(err, GF_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

char *gf_strndup(const char *s, size_t n, gf_err *err)
{
    char *p = gf_alloc(n + 1, 1, err);
    if (p)
        memcpy(p, s, n);
    return p;
}

char *gf_strdup(const char *s, gf_err *err)
{
    return gf_strndup(s, strlen(s), err);
}

char *gf_format(gf_err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *p = NULL;
    const int n = vasprintf(&p, fmt, args);
    va_end(args);
    if (n < 0) {
        gf_fail(err, GF_ENOMEM, "out of memory");
        return NULL;
    }
    return p;
}

/* Room for n more bytes and the NUL. */
static gf_status reserve(gf_buf *b, size_t n, gf_err *err)
{
    uint64_t need;
    if (!gf_add(b->len, n, &need) || !gf_add(need, 1, &need))
        return gf_fail(err, GF_ENOMEM, "out of memory: a text of %zu bytes", n);
    if (need <= b->cap)
        return GF_OK;
    const size_t cap = need < 2 * b->cap ? 2 * b->cap : need + 64;
    char *p = gf_realloc(b->data, cap, 1, err);
    if (!p)
        return GF_ENOMEM;
    b->data = p;
    b->cap = cap;
    return GF_OK;
}

gf_status gf_buf_add(gf_buf *b, const void *bytes, size_t n, gf_err *err)
{
    TRY(reserve(b, n, err));
    if (n)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
    return GF_OK;
}

gf_status gf_buf_str(gf_buf *b, const char *s, gf_err *err)
{
    return gf_buf_add(b, s, strlen(s), err);
}

gf_status gf_buf_printf(gf_buf *b, gf_err *err, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    gf_status st = n < 0 ? gf_fail(err, GF_ENOMEM, "a text could not be formatted")
                         : reserve(b, (size_t)n, err);
    if (st == GF_OK) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return st;
}

void gf_buf_free(gf_buf *b)
{
    free(b->data);
    *b = (gf_buf){0};
}
