/* blas.h - cuBLASLt, loaded while the program runs. */
#ifndef GRAFT_KERNELS_CUDA_BLAS_H
#define GRAFT_KERNELS_CUDA_BLAS_H

#include <cublasLt.h>

#include "graft/base.h"

/* Every call that graft makes: X(field, exported name). */
#define GF_BLAS_CALLS(X)                                                                           \
    X(version, cublasLtGetVersion)                                                                 \
    X(status_name, cublasLtGetStatusName)                                                          \
    X(create, cublasLtCreate)                                                                      \
    X(destroy, cublasLtDestroy)                                                                    \
    X(desc_create, cublasLtMatmulDescCreate)                                                       \
    X(desc_set, cublasLtMatmulDescSetAttribute)                                                    \
    X(desc_destroy, cublasLtMatmulDescDestroy)                                                     \
    X(layout_create, cublasLtMatrixLayoutCreate)                                                   \
    X(layout_destroy, cublasLtMatrixLayoutDestroy)                                                 \
    X(wish_create, cublasLtMatmulPreferenceCreate)                                                 \
    X(wish_set, cublasLtMatmulPreferenceSetAttribute)                                              \
    X(wish_destroy, cublasLtMatmulPreferenceDestroy)                                               \
    X(heuristic, cublasLtMatmulAlgoGetHeuristic)                                                   \
    X(algo_check, cublasLtMatmulAlgoCheck)                                                         \
    X(algo_get, cublasLtMatmulAlgoConfigGetAttribute)                                              \
    X(matmul, cublasLtMatmul)

typedef struct {
#define X(field, symbol) __typeof__(symbol) *field;
    GF_BLAS_CALLS(X)
#undef X
} gf_blas_calls;

/* GF_EMISSING: no libcublasLt, or one that lacks a call; the text says what to do. */
gf_status gf_blas_load(gf_blas_calls *out, gf_err *err);

#endif
