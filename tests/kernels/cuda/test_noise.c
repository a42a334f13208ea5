/* test_noise.c - the noise against its CPU twin: the same bits; filler keeps what it had. */
#include "support/twin_case.h"

Test(cuda_noise, twin)
{
    static const struct {
        int64_t width, gap;
    } cases[] = {{64, 0}, {70, 0}, {4100, 4}, {1, 1}};
    const gf_span span[] = {
        {0, 5, 0, 5, 3}, {5, 1, 5, 1, 1ULL << 33}, {6, 17, 6, 17, 4}, {23, 2, 23, 2, 0}};
    const int64_t tokens = 25, n = 32;
    twin_pair p;
    twin_open(&p);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        twin *x = twin_make(&p, GF_F32, "x", n, cases[i].width, 0, cases[i].gap);
        const gf_spans row = {.tokens = tokens, .count = 4, .span = span};
        const gf_noise noise = {5.0f, 42ULL << 30, 7};
        op_fill(x->cpu.t, i, 1.0);
        device_row bound = device_bind(&p.be, row, n, noise.epoch);
        TWIN_RUN(p, gf_embed_noise(BE, side_ ? T(x) : gf_rows(T(x), 0, tokens),
                                   side_ ? &bound.row : &row, noise));
        twin_equal("noise", x);
        device_unbind(&p.be, &bound);
        twin_clear(&p);
    }
    twin_close(&p);
}
