/* delta.h - W += (B A) scale, bit for bit as PyTorch and PEFT compute it on a CPU (FORMATS 4.6). */
#ifndef GRAFT_HOST_MODEL_DELTA_H
#define GRAFT_HOST_MODEL_DELTA_H

#include <stdint.h>

/* w [rows,k] += scale * b [rows,r] a [r,k], all f32 and contiguous. Each element of the product is
 * one chain of fused multiply-adds over r, starting at 0; then one product by scale, one sum with
 * w. PyTorch's matrix product (MKL) has that order up to r = 192; beyond it splits the chain. */
void gf_delta_add(float *w, const float *b, const float *a, int64_t rows, int64_t k, int64_t r,
                  float scale);

/* DoRA: each row of w [rows,k] times magnitude[row] / its length, both rounded to f32
 * (FORMATS 4.5); a row of zeros stays. */
void gf_delta_scale(float *w, const float *magnitude, int64_t rows, int64_t k);

#endif
