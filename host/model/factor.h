/* factor.h - the parts of a weight that PiSSA and OLoRA start from. */
#ifndef GRAFT_HOST_MODEL_FACTOR_H
#define GRAFT_HOST_MODEL_FACTOR_H

#include "model/adapter.h"

/* left [r,n] and right [r,k] such that sum_i left[i]^T right[i] is the part of w [n,k] along its r
 * largest singular values (PiSSA, Meng et al. 2024): row i of left is u_i, that of right is
 * sigma_i v_i. By subspace iteration with Rayleigh-Ritz (Halko et al. 2011, 4.4-4.5) until the
 * part's squared norm stands to 1e-9. sigma [r]. `be` is a CPU; the bits do not depend on its
 * threads. GF_ENOMEM. */
gf_status gf_factor_svd(float *left, float *right, float *sigma, const float *w, int64_t n,
                        int64_t k, int64_t r, gf_backend *be, gf_err *err);
/* The same for the first r columns of Q and rows of R of w = Q R (OLoRA, Buyukakyuz 2024). */
gf_status gf_factor_qr(float *left, float *right, const float *w, int64_t n, int64_t k, int64_t r,
                       gf_backend *be, gf_err *err);

/* The start of an adapter with ad->split: A0 and B0 of every module as PEFT has them (FORMATS 4.4)
 * into the half that trains, A0 and -B0 into the half that does not: together they are zero.
 * Holds one weight of the base in memory at a time, as f32. A rank above a module's width:
 * GF_EARG. */
gf_status gf_factor_init(const gf_adapter *ad, float *value, gf_init init, const gf_files *files,
                         gf_backend *be, gf_err *err);

#endif
