/* test_tensor.c - cutting views. */
#include "graft/tensor.h"

#include <criterion/criterion.h>

Test(tensor, views)
{
    float data[60];
    const gf_tensor t = gf_view(data, GF_F32, "t", 5, 12, 0);
    cr_assert(t.rank == 2 && t.stride == 12 && gf_width(t) == 12 && gf_count(t) == 60);
    const gf_tensor rows = gf_rows(t, 2, 3);
    cr_assert(rows.data == data + 24 && rows.dim[0] == 3 && rows.stride == 12);
    const gf_tensor cols = gf_cols(rows, 4, 6);
    cr_assert(cols.data == data + 28 && cols.dim[1] == 6 && cols.stride == 12);
    const gf_tensor heads = gf_heads(cols, 3);
    cr_assert(heads.rank == 3 && heads.dim[1] == 3 && heads.dim[2] == 2 && heads.stride == 12);
    cr_assert(gf_view(data, GF_F32, "v", 7, 0, 0).rank == 1 && !gf_is(gf_none));
    char blocks[2 * 3 * 18];
    const gf_tensor q = gf_view(blocks, GF_Q4_0, "q", 2, 96, 0);
    cr_assert(gf_rows(q, 1, 1).data == blocks + 54 && gf_cols(q, 32, 64).data == blocks + 18);
    const gf_tensor dry = gf_view(NULL, GF_F32, "t", 5, 12, 0);
    cr_assert_null(gf_cols(gf_rows(dry, 1, 1), 1, 1).data);
}
