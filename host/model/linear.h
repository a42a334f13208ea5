/* linear.h - the linear layers of a block with whatever adapters they carry, forward and backward.
 * Dropout, the row and the gradients' scale are the model's. */
#ifndef GRAFT_HOST_MODEL_LINEAR_H
#define GRAFT_HOST_MODEL_LINEAR_H

#include "model/model.h"

/* y [N,n] = the group's layers of x [N,k], side by side, + residual [N,n] f32 or none (it may be
 * y). `kept` gets what the backward pass wants. */
gf_status gf_layer_linear_fwd(gf_model *m, gf_tensor y, gf_tensor x, gf_tensor residual,
                              const gf_group *g, const gf_kept *kept);

/* dx [N,k] (or none) from dy [N,n]; dB is added to the gradients, and dA if x is given. Else *p
 * [N,R] is what gf_layer_linear_da makes dA from, once x is there again. It is scratch, the
 * caller's to release, or stands behind dy. With DoRA
 * more of scratch is taken. */
gf_status gf_layer_linear_bwd(gf_model *m, gf_tensor dx, gf_tensor *p, gf_tensor dy, gf_tensor x,
                              const gf_group *g, const gf_kept *kept);
gf_status gf_layer_linear_da(gf_model *m, gf_tensor p, gf_tensor x, const gf_group *g);

#endif
