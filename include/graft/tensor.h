/* tensor.h - element types and a row-major view, passed by value. */
#ifndef GRAFT_TENSOR_H
#define GRAFT_TENSOR_H

#include "graft/base.h"

/* X(name, text, elements per block, bytes per block). The quantised ones are GGUF's blocks
 * (llama.cpp ggml-common.h), which run along a row. */
#define GF_DTYPE_LIST(X)                                                                           \
    X(GF_F32, "f32", 1, 4)                                                                         \
    X(GF_F16, "f16", 1, 2)                                                                         \
    X(GF_BF16, "bf16", 1, 2)                                                                       \
    X(GF_I32, "i32", 1, 4)                                                                         \
    X(GF_I64, "i64", 1, 8)                                                                         \
    X(GF_U8, "u8", 1, 1)                                                                           \
    X(GF_Q8_0, "q8_0", 32, 34)                                                                     \
    X(GF_Q4_0, "q4_0", 32, 18)                                                                     \
    X(GF_Q4_1, "q4_1", 32, 20)                                                                     \
    X(GF_Q5_0, "q5_0", 32, 22)                                                                     \
    X(GF_Q5_1, "q5_1", 32, 24)                                                                     \
    X(GF_IQ4_NL, "iq4_nl", 32, 18)                                                                 \
    X(GF_Q2_K, "q2_k", 256, 84)                                                                    \
    X(GF_Q3_K, "q3_k", 256, 110)                                                                   \
    X(GF_Q4_K, "q4_k", 256, 144)                                                                   \
    X(GF_Q5_K, "q5_k", 256, 176)                                                                   \
    X(GF_Q6_K, "q6_k", 256, 210)                                                                   \
    X(GF_IQ4_XS, "iq4_xs", 256, 136)

typedef enum {
#define X(name, text, elements, bytes) name,
    GF_DTYPE_LIST(X)
#undef X
        GF_DTYPES
} gf_dtype;

const char *gf_dtype_name(gf_dtype t);
int64_t gf_dtype_block(gf_dtype t); /* elements in a block, 1 for plain types */
int64_t gf_dtype_size(gf_dtype t);  /* bytes of a block */
bool gf_dtype_quantised(gf_dtype t);

/* Bytes of a row of n elements; n must be a multiple of the block (asserted). */
static inline int64_t gf_row_bytes(gf_dtype t, int64_t n)
{
    if (t == GF_F32 || t == GF_BF16) /* most calls, inside loops: no division */
        return n * (t == GF_F32 ? 4 : 2);
    return n / gf_dtype_block(t) * gf_dtype_size(t);
}

/* A view of memory that somebody else owns. Dimension 0 counts rows; what is inside a row is
 * contiguous; `stride` is the distance between rows in elements (>= product of dim[1..]).
 * data == NULL with rank > 0 happens in dry runs; rank == 0 means "no tensor". */
typedef struct {
    void *data;
    gf_dtype dtype;
    int rank;         /* 0 to 3 */
    int64_t dim[3];   /* unused ones are 1 */
    int64_t stride;   /* elements */
    const char *name; /* for messages; not owned */
} gf_tensor;

static const gf_tensor gf_none = {0};

static inline bool gf_is(gf_tensor t)
{
    return t.rank > 0;
}
static inline int64_t gf_width(gf_tensor t) /* elements in a row */
{
    return t.dim[1] * t.dim[2];
}
static inline int64_t gf_count(gf_tensor t)
{
    return t.dim[0] * t.dim[1] * t.dim[2];
}

/* A contiguous tensor over `data`. Pass 1 for unused dimensions; rank is 3 if d2 > 0, else 2 if
 * d1 > 0, else 1, so pass 0 to leave one out. */
gf_tensor gf_view(void *data, gf_dtype dtype, const char *name, int64_t d0, int64_t d1, int64_t d2);

/* Rows [first, first + count) of t. */
gf_tensor gf_rows(gf_tensor t, int64_t first, int64_t count);

/* Columns [first, first + count) of a rank-2 tensor: same stride, moved start. */
gf_tensor gf_cols(gf_tensor t, int64_t first, int64_t count);

/* A rank-2 tensor [N, heads*width] seen as [N, heads, width]; the stride stays. */
gf_tensor gf_heads(gf_tensor t, int64_t heads);

/* bf16 <-> f32: round to nearest even, NaN stays NaN. f16 likewise. */
float gf_bf16_to_f32(uint16_t x);
uint16_t gf_f32_to_bf16(float x);
float gf_f16_to_f32(uint16_t x);
uint16_t gf_f32_to_f16(float x);

/* Element conversion of n values between f32 and a storage type; quantised: n a multiple of the
 * block. Formulas: GGUF blocks as in llama.cpp's ggml-quants.c, dequantised in f32, bit-equal to
 * gguf-py.
 *
 * gf_from_f32 writes f32, f16, bf16, q8_0, q4_0 (bit-equal to gguf-py) and q4_k (its scales and
 * minima searched for the least weighted square error); gf_dtype_writable says which. A quantised
 * block with a NaN or Inf in it reads back as NaN throughout; one too large for its scale of f16
 * (above some 65504 times the type's largest number) as Inf or NaN: check before if it matters. */
void gf_to_f32(float *out, gf_dtype t, const void *in, int64_t n);
void gf_from_f32(gf_dtype t, void *out, const float *in, int64_t n);
bool gf_dtype_writable(gf_dtype t);

#endif
