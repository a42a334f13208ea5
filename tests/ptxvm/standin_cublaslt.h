// standin_cublaslt.h - the stand-in for libcublasLt: what its two files share.
//
// It knows what graft sets and nothing else: any other attribute, type or mode is answered with
// CUBLAS_STATUS_NOT_SUPPORTED and a line on stderr, so that nothing is computed otherwise than the
// program believes.
#ifndef GRAFT_PTXVM_STANDIN_CUBLASLT_H
#define GRAFT_PTXVM_STANDIN_CUBLASLT_H

#pragma GCC visibility push(default) // the definitions of what cublasLt.h declares are the exports
#include <cublasLt.h>
#pragma GCC visibility pop
#include "standin_cublaslt_gemm.h"

namespace standin
{

struct BlasRefusal {
    cublasStatus_t status;
};
// Throws, after a line on stderr.
[[noreturn]] void refuse(cublasStatus_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Behind each of the library's opaque pointers. `kind` tells a handle from a stale or foreign one.
enum class Kind : uint32_t { handle = 0x6c744801, description, layout, preference, dead };

struct Handle {
    Kind kind = Kind::handle;
};

struct Description {
    Kind kind = Kind::description;
    cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int bias_type = -1; // cudaDataType_t; -1: D's
};

struct Layout {
    Kind kind = Kind::layout;
    cudaDataType_t type = CUDA_R_32F;
    uint64_t rows = 0, columns = 0;
    int64_t ld = 0;
};

struct Preference {
    Kind kind = Kind::preference;
    uint64_t workspace = 0;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256}; // of A, B, C, D: the library's documented default
};

template <class T> T &object(const void *pointer, Kind kind, const char *what)
{
    T *t = static_cast<T *>(const_cast<void *>(pointer));
    if (!t || t->kind != kind)
        refuse(CUBLAS_STATUS_INVALID_VALUE, "not a live %s", what);
    return *t;
}

template <class Body> cublasStatus_t blas(Body body)
{
    try {
        body();
    } catch (const BlasRefusal &r) {
        return r.status;
    }
    return CUBLAS_STATUS_SUCCESS;
}

// An algorithm as the program holds it: cublasLtMatmulAlgo_t.
struct Algorithm {
    uint32_t mark; // ALGORITHM_MARK
    uint16_t id;
    uint16_t slices;    // runs of k (split-K)
    uint32_t reduction; // cublasLtReductionScheme_t
    uint16_t alignment[4];
    uint8_t a, b, out, trans_a, trans_b, epilogue; // what it was chosen for
    uint16_t unused;
    uint64_t workspace; // bytes
    uint64_t rest[3];
};
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t), "travels in the library's struct");

} // namespace standin

#endif
