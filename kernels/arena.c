/* arena.c - the one allocation. Contract: graft/arena.h. */
#include "graft/arena.h"

#include "graft/ops.h"

#include <assert.h>
#include <string.h>

const char *gf_part_name(gf_part p)
{
    static const char *const name[] = {
#define X(part, text) text,
        GF_PART_LIST(X)
#undef X
    };
    assert((unsigned)p < GF_PARTS);
    return name[p];
}

static size_t round_up(size_t n, size_t to)
{
    assert(n <= SIZE_MAX - (to - 1));
    return (n + to - 1) / to * to;
}

/* Bytes of a tensor, a multiple of GF_ALIGN. Sizes beyond the address space saturate: the plan
 * then says that the run does not fit, instead of wrapping to something small. */
static size_t tensor_bytes(gf_tensor t)
{
    const uint64_t top = SIZE_MAX / 4; /* so that sums of parts cannot wrap */
    uint64_t blocks = (uint64_t)(gf_width(t) / gf_dtype_block(t.dtype)), bytes;
    if (!gf_mul(blocks, (uint64_t)t.dim[0], &blocks) ||
        !gf_mul(blocks, (uint64_t)gf_dtype_size(t.dtype), &bytes) || bytes > top)
        return (size_t)top / GF_ALIGN * GF_ALIGN;
    return round_up((size_t)bytes, GF_ALIGN);
}

gf_tensor gf_take(gf_arena *a, gf_part part, const char *name, gf_dtype dtype, int64_t d0,
                  int64_t d1, int64_t d2)
{
    gf_tensor t = gf_view(NULL, dtype, name, d0, d1, d2);
    /* a rank-1 tensor of blocks would be rows of one element; blocks run along a row */
    assert(gf_width(t) % gf_dtype_block(dtype) == 0);
    const size_t bytes = tensor_bytes(t), used = a->part[part].used;
    const size_t next = used > SIZE_MAX / 2 ? used : used + bytes;
    if (a->base) {
        assert(next <= a->part[part].size && "the layout took more than it measured");
        t.data = a->base + a->part[part].offset + used;
    }
    a->part[part].used = next;
    if (next > a->part[part].peak)
        a->part[part].peak = next;
    return t;
}

size_t gf_mark(const gf_arena *a, gf_part part)
{
    return a->part[part].used;
}

void gf_release(gf_arena *a, gf_part part, size_t mark)
{
    assert(mark <= a->part[part].used);
    a->part[part].used = mark;
}

size_t gf_arena_planned(const gf_arena *a)
{
    size_t sum = 0;
    for (int i = 0; i < GF_PARTS; i++) {
        const size_t bytes = a->base ? a->part[i].size : a->part[i].peak;
        if (__builtin_add_overflow(sum, bytes, &sum))
            return SIZE_MAX;
    }
    return sum;
}

gf_status gf_arena_commit(gf_arena *a, gf_backend *be, gf_err *err)
{
    assert(!a->base && "committed twice");
    void *base;
    TRY(gf_backend_alloc(be, &base, gf_arena_planned(a), err));
    a->base = base;
    a->owner = be;
    size_t offset = 0;
    for (int i = 0; i < GF_PARTS; i++) {
        a->part[i].offset = offset;
        a->part[i].size = a->part[i].peak;
        a->part[i].used = 0;
        a->part[i].peak = 0;
        offset += a->part[i].size;
    }
    return GF_OK;
}

void gf_arena_free(gf_arena *a)
{
    if (a->base)
        gf_backend_free(a->owner, a->base);
    memset(a, 0, sizeof *a);
}
