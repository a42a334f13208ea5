// standin_cublaslt_gemm.h - the product behind the stand-in for libcublasLt.
//
//   D = alpha op(A) op(B) + beta C + bias     column-major; bias has an element per row of D
//
// Every output is a sum in f32 over k in ascending order by fused multiply-adds (so products are
// exact), started at 0; with `slices` > 1, k is cut into that many runs whose sums are added in
// order. It is rounded once, to D's type. The order does not depend on m, n or the processor.
#ifndef GRAFT_PTXVM_STANDIN_CUBLASLT_GEMM_H
#define GRAFT_PTXVM_STANDIN_CUBLASLT_GEMM_H

#include <cstddef>
#include <cstdint>

namespace standin
{

enum class Type { f32, bf16, f16, e4m3, e5m2 };
size_t bytes_of(Type type);
float to_float(Type type, const void *element);
void from_float(Type type, float value, void *element); // to nearest, ties to even; f32, bf16, f16

// A matrix of `outer` lines of `depth` elements (op(A): m lines of k; op(B): n lines of k). Element
// (i, p) is at i + p * ld if `packed_outer`, else at p + i * ld.
struct Operand {
    const char *data;
    Type type;
    size_t ld;
    bool packed_outer;
};

struct Product {
    size_t m, n, k;
    Operand a, b;
    float alpha, beta;
    const char *c; // read only if beta != 0
    size_t ldc;
    char *d;
    size_t ldd;
    Type out;         // of C, D and bias
    const char *bias; // null: none
    size_t slices;
};

void multiply(const Product &p);

} // namespace standin

#endif
