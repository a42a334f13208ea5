/* base.h - status codes, error text and the two ways to hand an error up the stack.
 *
 * Every function that can fail returns a gf_status and takes a gf_err as its last argument (ops
 * keep theirs in the backend). The first text wins. Below host/cli nothing prints or exits. */
#ifndef GRAFT_BASE_H
#define GRAFT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One list makes the enum, the texts and the exit codes: X(code, exit code, text). */
#define GF_STATUS_LIST(X)                                                                          \
    X(GF_OK, 0, "ok")                                                                              \
    X(GF_EARG, 2, "an option or argument is not valid")                                            \
    X(GF_EINPUT, 2, "an input file is missing, unreadable or malformed")                           \
    X(GF_ESHAPE, 2, "a tensor has the wrong shape or dtype")                                       \
    X(GF_EFIT, 2, "the run does not fit into the memory given")                                    \
    X(GF_EMISSING, 2, "this build or machine has no such thing")                                   \
    X(GF_ELACK, 1, "something that this machine needs is missing")                                 \
    X(GF_EIO, 1, "a file could not be written")                                                    \
    X(GF_ENOMEM, 1, "memory could not be allocated")                                               \
    X(GF_EDEVICE, 1, "a device call failed")                                                       \
    X(GF_ENUMERIC, 1, "a number is not finite or out of range")                                    \
    X(GF_EPEER, 1, "another rank failed")                                                          \
    X(GF_EINTERRUPT, 3, "interrupted; a checkpoint was saved")

typedef enum {
#define X(name, exit_code, text) name,
    GF_STATUS_LIST(X)
#undef X
} gf_status;

/* Text of the first failure: one line that says what, where (file, line or byte) and what to do.
 * The caller owns it, usually on its stack, zero-initialised. */
typedef struct {
    gf_status code;
    char text[768]; /* a path of 256 and a sentence around it */
} gf_err;

/* Records a failure and returns `code`, so that a failing line reads
 *     return gf_fail(err, GF_EINPUT, "%s: bad magic", path);
 * `err` may be NULL. A text already there is kept. */
gf_status gf_fail(gf_err *err, gf_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Exit code of the program for a status, and its text, from the list above. */
int gf_exit_code(gf_status status);
const char *gf_status_text(gf_status status);

/* TRY in a function that owns nothing; TRYG in one that ends in a single `out:` and keeps its
 * status in `st`. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        const gf_status try_st_ = (expr);                                                          \
        if (try_st_ != GF_OK)                                                                      \
            return try_st_;                                                                        \
    } while (0)
#define TRYG(expr)                                                                                 \
    do {                                                                                           \
        st = (expr);                                                                               \
        if (st != GF_OK)                                                                           \
            goto out;                                                                              \
    } while (0)

/* malloc family that reports: NULL is returned and `err` filled (GF_ENOMEM) on failure, also when
 * count * size overflows. Zeroed. Size 0 gives a pointer that may be freed. */
void *gf_alloc(size_t count, size_t size, gf_err *err);

/* realloc to count * size bytes with the same overflow rule; the old block is kept on failure. */
void *gf_realloc(void *old, size_t count, size_t size, gf_err *err);

/* strdup / strndup that report. */
char *gf_strdup(const char *s, gf_err *err);
char *gf_strndup(const char *s, size_t n, gf_err *err);

/* printf into a new string; NULL and `err` on failure. */
char *gf_format(gf_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* a * b and a + b that fail instead of wrapping: false on overflow, *out untouched then. */
static inline bool gf_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool gf_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* A growing byte string; always NUL-terminated once it holds something. Free with gf_buf_free. */
typedef struct {
    char *data;
    size_t len, cap;
} gf_buf;

gf_status gf_buf_add(gf_buf *b, const void *bytes, size_t n, gf_err *err);
gf_status gf_buf_str(gf_buf *b, const char *s, gf_err *err);
gf_status gf_buf_printf(gf_buf *b, gf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void gf_buf_free(gf_buf *b);

#endif
