/* moments.h - the optimizer's state in the adapter space: which parts it has, and the stretches of
 * the flat space that one call of an op updates. */
#ifndef GRAFT_HOST_MODEL_MOMENTS_H
#define GRAFT_HOST_MODEL_MOMENTS_H

#include "model/adapter.h"

typedef enum { GF_OPTIM_ADAMW, GF_OPTIM_ADAMW8, GF_OPTIM_LION } gf_optim;

/* A part's elements; its name in a checkpoint is gf_moment_name's. */
typedef enum {
    GF_MOMENT_M,      /* f32 */
    GF_MOMENT_V,      /* f32 */
    GF_MOMENT_M_CODE, /* u8: of tensors that are large enough for 8 bits (op adamw8) */
    GF_MOMENT_V_CODE, /* u8 */
    GF_MOMENT_M_MAX,  /* f32 of each block of GF_BLOCK8 codes */
    GF_MOMENT_V_MAX,  /* f32 */
    GF_MOMENTS
} gf_moment;

const char *gf_moment_name(gf_moment part);
gf_dtype gf_moment_dtype(gf_moment part);

/* Tensors with fewer parameters keep f32 moments: bitsandbytes' min_8bit_size. */
#define GF_MIN_8BIT 4096

/* Whole trained tensors, one behind the other, that are updated alike. */
typedef struct {
    int param;             /* the next one, of gf_adapter.param */
    int64_t first, count;  /* of the flat space */
    gf_param_kind kind;    /* of its first tensor */
    bool coded;            /* in 8 bits */
    int64_t at;            /* elements: where it starts in M and V, or in the codes */
    int64_t block, blocks; /* coded: its blocks in M_MAX and V_MAX */
} gf_stretch;

/* The stretch behind *s, from a zeroed one on; false at the end. rate [GF_PARAM_KINDS]: kinds of
 * tensors whose learning rates differ are not updated together. Blocks of codes start anew with
 * each tensor, so that only tensors of whole blocks are followed by others. */
bool gf_stretch_next(gf_stretch *s, const gf_adapter *ad, gf_optim optim, const double *rate);

/* Elements of every part; 0: the optimizer has no such part. */
void gf_moments_size(int64_t size[GF_MOMENTS], const gf_adapter *ad, gf_optim optim);

#endif
