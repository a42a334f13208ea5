/* test_rows.c - gather, scatter, zero: exact, nothing else touched. */
#include "support/op_case.h"

Test(rows, gather_and_scatter)
{
    const gf_dtype type[] = {GF_F32, GF_BF16};
    const int64_t n = 900, m = 500, width = 37;
    gf_backend be;
    EACH_ISA(be, 3)
    {
        for (int k = 0; k < 4; k++) {
            op_tensor x = op_make(type[k % 2], "x", n, width, 0, 3);
            op_tensor y = op_make(type[k / 2], "y", m, width, 0, 1);
            op_tensor back = op_make(GF_F32, "back", n, width, 0, 2);
            op_tensor index = op_make(GF_I32, "index", m, 0, 0, 0);
            op_fill(x.t, 1, 5.0);
            for (int64_t i = 0; i < m; i++)
                op_set(index.t, i, 0, (double)((i * 7 + 2) % n)); /* 7 and 900 share no divisor */
            OP_OK(be, gf_gather_rows(&be, y.t, x.t, index.t));
            OP_OK(be, gf_scatter_rows(&be, back.t, y.t, index.t));
            int64_t set = 0;
            for (int64_t t = 0; t < n; t++) {
                int64_t from = -1;
                for (int64_t i = 0; i < m && from < 0; i++)
                    from = (i * 7 + 2) % n == t ? i : -1;
                set += from >= 0;
                for (int64_t i = 0; i < width; i++) {
                    double want = 0.0;
                    if (from >= 0) {
                        want = op_get(x.t, t, i);
                        if (type[k / 2] == GF_BF16)
                            want = (double)gf_bf16_to_f32(gf_f32_to_bf16((float)want));
                        cr_assert_eq(op_get(y.t, from, i), want);
                    }
                    cr_assert_eq(op_get(back.t, t, i), want);
                }
            }
            cr_assert_eq(set, m);
            cr_assert(op_guard_whole(&x) && op_guard_whole(&y) && op_guard_whole(&back));
            op_free(&x);
            op_free(&y);
            op_free(&back);
            op_free(&index);
        }
    }
}

/* Every exponent, so denormals, infinities and NaN too, and ties: the bits of gf_f32_to_bf16. */
Test(rows, rounding)
{
    const int64_t n = 512, width = 37;
    gf_backend be;
    EACH_ISA(be, 1)
    {
        op_tensor x = op_make(GF_F32, "x", n, width, 0, 0);
        op_tensor y = op_make(GF_BF16, "y", n, width, 0, 0);
        op_tensor index = op_make(GF_I32, "index", n, 0, 0, 0);
        for (int64_t t = 0; t < n; t++) {
            op_set(index.t, t, 0, (double)t);
            for (int64_t i = 0; i < width; i++) { /* 0x8001 steps: ties, and just beside them */
                const uint32_t bits = (uint32_t)t << 23 | (uint32_t)i * 0x8001u;
                memcpy((float *)op_row(x.t, t) + i, &bits, sizeof bits);
            }
        }
        OP_OK(be, gf_gather_rows(&be, y.t, x.t, index.t));
        for (int64_t t = 0; t < n; t++)
            for (int64_t i = 0; i < width; i++) {
                const float from = ((const float *)op_row(x.t, t))[i];
                const uint16_t got = ((const uint16_t *)op_row(y.t, t))[i];
                cr_assert_eq(got, gf_f32_to_bf16(from), "%s: %a", be.ops->name, (double)from);
            }
        op_free(&x);
        op_free(&y);
        op_free(&index);
    }
}

Test(rows, zero)
{
    const gf_dtype type[] = {GF_F32, GF_BF16, GF_I64, GF_Q4_1};
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int k = 0; k < 8; k++) {
            op_tensor x = op_make(type[k / 2], "x", 50, 704, 0, k % 2 ? 32 : 0);
            OP_OK(be, gf_zero(&be, x.t));
            for (int64_t t = 0; t < 50; t++)
                for (int64_t i = 0; i < gf_row_bytes(type[k / 2], 704); i++)
                    cr_assert_eq(((unsigned char *)op_row(x.t, t))[i], 0);
            cr_assert(op_guard_whole(&x));
            op_free(&x);
        }
    }
}

/* One rounding, of the sum in f32; odd widths and gaps. */
Test(rows, add)
{
    gf_backend be;
    EACH_ISA(be, 3)
    {
        for (int k = 0; k < 2; k++) {
            op_tensor y = op_make(GF_F32, "y", 700, 37, 0, 3);
            op_tensor x = op_make(k ? GF_BF16 : GF_F32, "x", 700, 37, 0, 1);
            op_tensor old = op_make(GF_F32, "old", 700, 37, 0, 0);
            op_fill(x.t, 1, 5.0), op_fill(y.t, 2, 5.0), op_fill(old.t, 2, 5.0);
            OP_OK(be, gf_add_rows(&be, y.t, x.t));
            for (int64_t t = 0; t < 700; t++)
                for (int64_t i = 0; i < 37; i++)
                    cr_assert_eq((float)op_get(y.t, t, i),
                                 (float)op_get(old.t, t, i) + (float)op_get(x.t, t, i));
            cr_assert(op_guard_whole(&y));
            op_free(&x), op_free(&y), op_free(&old);
        }
    }
}

/* Index -1 is filler: zeros when gathered, left alone when scattered. */
Test(rows, filler)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        op_tensor x = op_make(GF_F32, "x", 3, 40, 0, 1), y = op_make(GF_BF16, "y", 3, 40, 0, 2),
                  z = op_make(GF_F32, "z", 4, 40, 0, 0), index = op_make(GF_I32, "i", 3, 0, 0, 0);
        op_fill(x.t, 1, 1.0);
        op_set(index.t, 0, 0, 2), op_set(index.t, 1, 0, -1), op_set(index.t, 2, 0, -1);
        OP_OK(be, gf_gather_rows(&be, y.t, x.t, index.t));
        OP_OK(be, gf_scatter_rows(&be, z.t, x.t, index.t));
        for (int64_t i = 0; i < 40; i++) {
            cr_assert_eq(op_get(y.t, 1, i), 0.0);
            cr_assert_eq(op_get(y.t, 2, i), 0.0);
            cr_assert_eq(op_get(z.t, 2, i), op_get(x.t, 0, i));
            cr_assert(op_get(z.t, 0, i) == 0.0 && op_get(z.t, 1, i) == 0.0 &&
                      op_get(z.t, 3, i) == 0.0);
        }
        cr_assert(op_guard_whole(&y) && op_guard_whole(&z));
        op_free(&x), op_free(&y), op_free(&z), op_free(&index);
    }
}

Test(rows, refusals)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        op_tensor x = op_make(GF_F32, "x", 4, 8, 0, 0), i = op_make(GF_I32, "i", 1, 0, 0, 0);
        op_set(i.t, 0, 0, 4);
        OP_REFUSED(be, gf_gather_rows(&be, gf_rows(x.t, 0, 1), x.t, i.t),
                   "gather_rows: index[0] is 4, want -1 to 3");
        OP_REFUSED(be, gf_zero(&be, gf_none), "zero: x is missing");
        op_free(&x);
        op_free(&i);
    }
}
