/* modules.h - the compiled kernels that are part of the program, one fatbin for each kernels/x.cu.
 */
#ifndef GRAFT_KERNELS_CUDA_MODULES_H
#define GRAFT_KERNELS_CUDA_MODULES_H

typedef struct {
    const char *name; /* "rope" for kernels/rope.cu; NULL ends the list */
    const unsigned char *start, *end;
} gf_module;

extern const gf_module gf_modules[];

#endif
