/* safetensors_dtype.h - the format's element types, for its reader and its writer. */
#ifndef GRAFT_HOST_FORMAT_SAFETENSORS_DTYPE_H
#define GRAFT_HOST_FORMAT_SAFETENSORS_DTYPE_H

#include "graft/tensor.h"

typedef struct {
    const char *name;
    unsigned bits;
    int dtype; /* a gf_dtype, or -1: graft can't hold it */
} gf_st_dtype;

enum { GF_ST_DTYPES = 22 };
extern const gf_st_dtype gf_st_dtypes[GF_ST_DTYPES];

/* Bytes of a header: the official reader refuses longer ones. */
#define GF_ST_HEADER_MAX 100000000

#endif
