/* tensor.c - making and cutting views. Contract: graft/tensor.h. */
#include "graft/tensor.h"

#include <assert.h>

gf_tensor gf_view(void *data, gf_dtype dtype, const char *name, int64_t d0, int64_t d1, int64_t d2)
{
    assert(d0 >= 0 && d1 >= 0 && d2 >= 0);
    gf_tensor t = {.data = data, .dtype = dtype, .name = name};
    t.rank = d2 > 0 ? 3 : d1 > 0 ? 2 : 1;
    t.dim[0] = d0;
    t.dim[1] = d1 > 0 ? d1 : 1;
    t.dim[2] = d2 > 0 ? d2 : 1;
    t.stride = gf_width(t);
    return t;
}

/* Moves the start by `elements`, which begin at a block boundary. */
static gf_tensor advance(gf_tensor t, int64_t elements)
{
    assert(elements % gf_dtype_block(t.dtype) == 0);
    if (t.data)
        t.data = (char *)t.data + gf_row_bytes(t.dtype, elements);
    return t;
}

gf_tensor gf_rows(gf_tensor t, int64_t first, int64_t count)
{
    assert(t.rank > 0 && first >= 0 && count >= 0 && first + count <= t.dim[0]);
    t = advance(t, first * t.stride);
    t.dim[0] = count;
    return t;
}

gf_tensor gf_cols(gf_tensor t, int64_t first, int64_t count)
{
    assert(t.rank == 2 && first >= 0 && count >= 0 && first + count <= t.dim[1]);
    t = advance(t, first);
    t.dim[1] = count;
    return t;
}

gf_tensor gf_heads(gf_tensor t, int64_t heads)
{
    assert(t.rank == 2 && heads > 0 && t.dim[1] % heads == 0);
    t.rank = 3;
    t.dim[2] = t.dim[1] / heads;
    t.dim[1] = heads;
    return t;
}
