/* arena.h - one allocation with named parts, laid out before step 1.
 *
 * The layout code runs twice. First on a measuring arena (base == NULL): nothing is allocated, the
 * arena only counts, and every tensor's data is NULL. gf_arena_commit then allocates the sum of
 * the peaks once, and the same code runs again. Sizes are therefore written in one place, and
 * planned == high-water mark can be checked to the byte. */
#ifndef GRAFT_ARENA_H
#define GRAFT_ARENA_H

#include "graft/tensor.h"

#define GF_PART_LIST(X)                                                                            \
    X(GF_PART_WEIGHTS, "weights")                                                                  \
    X(GF_PART_SPACE, "adapter") /* value, gradient, m, v */                                        \
    X(GF_PART_ACT, "activations")                                                                  \
    X(GF_PART_SCRATCH, "scratch") /* a stack: mark, release */

typedef enum {
#define X(name, text) name,
    GF_PART_LIST(X)
#undef X
        GF_PARTS
} gf_part;

const char *gf_part_name(gf_part p);

typedef struct {
    char *base;               /* NULL while measuring */
    struct gf_backend *owner; /* whose memory it is, once committed */
    struct {
        size_t offset; /* of the part behind base */
        size_t size;   /* planned bytes; 0 while measuring */
        size_t used, peak;
    } part[GF_PARTS];
} gf_arena;

/* Every tensor starts at a multiple of this: a cache line, and 128-bit GPU accesses. */
#define GF_ALIGN 256

/* Takes the next tensor of a part, contiguous; dimensions as gf_view takes them. In a committed
 * arena a take beyond the planned size is a broken promise of the layout code (asserted). */
gf_tensor gf_take(gf_arena *a, gf_part part, const char *name, gf_dtype dtype, int64_t d0,
                  int64_t d1, int64_t d2);
size_t gf_mark(const gf_arena *a, gf_part part);
void gf_release(gf_arena *a, gf_part part, size_t mark);

/* Allocates the sum of the peaks in the backend's memory, zeroed; resets `used`. GF_ENOMEM. The
 * backend must outlive the arena. */
gf_status gf_arena_commit(gf_arena *a, struct gf_backend *be, gf_err *err);
size_t gf_arena_planned(const gf_arena *a);
void gf_arena_free(gf_arena *a);

#endif
