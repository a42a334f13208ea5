/* library.h - functions of a shared library that is looked for while the program runs. */
#ifndef GRAFT_KERNELS_CUDA_LIBRARY_H
#define GRAFT_KERNELS_CUDA_LIBRARY_H

#include "graft/base.h"

/* A function to look for, and where its address goes. */
typedef struct {
    const char *name;
    void *to; /* a function pointer's address */
} gf_symbol;

/* Opens the first of `names` (ended by NULL) that is there and fills in every symbol. NULL in *out
 * and GF_EMISSING if none is there, or a symbol is not in it: `hint` says what to do. */
gf_status gf_library_open(void **out, const char *const *names, const gf_symbol *symbols,
                          size_t count, const char *hint, gf_err *err);

#endif
