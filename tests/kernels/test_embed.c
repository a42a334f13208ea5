/* test_embed.c - rows of the table, every storage type, scaled. */
#include "support/op_case.h"

Test(embed, rows)
{
    static const gf_dtype type[] = {GF_F32,  GF_F16,  GF_BF16, GF_Q8_0,   GF_Q4_0,
                                    GF_Q4_1, GF_Q5_0, GF_Q5_1, GF_IQ4_NL, GF_Q2_K,
                                    GF_Q3_K, GF_Q4_K, GF_Q5_K, GF_Q6_K,   GF_IQ4_XS};
    const int64_t n = 300, width = 512, vocabulary = 7;
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int k = 0; k < (int)(sizeof type / sizeof *type); k++) {
            op_tensor table = op_make(type[k], "table", vocabulary, width, 0, 256);
            op_tensor y = op_make(GF_F32, "y", n, width, 0, 5),
                      ids = op_make(GF_I32, "ids", n, 0, 0, 0);
            uint64_t state = (uint64_t)k;
            for (int64_t v = 0; v < vocabulary; v++)
                for (int64_t i = 0; i < gf_row_bytes(type[k], width); i++) /* bytes of any kind, but
                                                     exponents below Inf for all of the formats */
                    ((unsigned char *)op_row(table.t, v))[i] =
                        (unsigned char)((int)(127.0 * op_random(&state)) & 0x3B);
            for (int64_t t = 0; t < n; t++)
                op_set(ids.t, t, 0, (double)((t * 5 + 3) % vocabulary));
            for (int s = 0; s < 2; s++) {
                const float scale = s ? 24.5f : 1.0f;
                OP_OK(be, gf_embed_fwd(&be, y.t, ids.t, table.t, scale));
                for (int64_t t = 0; t < n; t++) {
                    float want[512];
                    gf_to_f32(want, type[k], op_row(table.t, (t * 5 + 3) % vocabulary), width);
                    for (int64_t i = 0; i < width; i++)
                        cr_assert_eq(((float *)op_row(y.t, t))[i], scale * want[i], "%s %s %g %g",
                                     be.ops->name, gf_dtype_name(type[k]), scale, want[i]);
                }
            }
            cr_assert(op_guard_whole(&y) && op_guard_whole(&table));
            op_free(&table);
            op_free(&y);
            op_free(&ids);
        }
    }
}

Test(embed, filler_is_zero)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        op_tensor y = op_make(GF_F32, "y", 2, 70, 0, 1), ids = op_make(GF_I32, "ids", 2, 0, 0, 0),
                  table = op_make(GF_F32, "table", 3, 70, 0, 0);
        op_fill(table.t, 1, 1.0);
        op_set(ids.t, 0, 0, -1), op_set(ids.t, 1, 0, 2);
        OP_OK(be, gf_embed_fwd(&be, y.t, ids.t, table.t, 2.0f));
        for (int64_t i = 0; i < 70; i++)
            cr_assert(op_get(y.t, 0, i) == 0.0 && op_get(y.t, 1, i) == 2 * op_get(table.t, 2, i));
        cr_assert(op_guard_whole(&y));
        op_free(&y), op_free(&ids), op_free(&table);
    }
}

Test(embed, refusals)
{
    gf_backend be = {.dry = true};
    const gf_tensor y = gf_view(NULL, GF_F32, "y", 2, 64, 0),
                    i = gf_view(NULL, GF_I32, "i", 2, 0, 0);
    const gf_tensor table = gf_view(NULL, GF_I64, "t", 9, 64, 0);
    OP_REFUSED(
        be, gf_embed_fwd(&be, y, i, table, 1),
        "embed_fwd: table is i64 [9,64], want "
        "f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|iq4_nl|q2_k|q3_k|q4_k|q5_k|q6_k|iq4_xs [*,64]");
    gf_backend live = {0};
    const gf_tensor good = gf_view(NULL, GF_F32, "t", 9, 64, 0);
    OP_REFUSED(live, gf_embed_fwd(&live, y, i, good, 1), "embed_fwd: y has no data");
}
