/* golden.h - the reference cases: tiny models with what PyTorch, transformers and PEFT compute for
 * them. Committed ones lie in tests/golden/cases, more in GRAFT_SHARED/golden. */
#ifndef GRAFT_TESTS_SUPPORT_GOLDEN_H
#define GRAFT_TESTS_SUPPORT_GOLDEN_H

#include "format/safetensors.h"

/* The families of this version, by their case's name. */
extern const char *const golden_names[];
extern const int golden_count;

/* Paths of the i-th case found, or NULL past the last one. The string is the caller's. */
char *golden_case(int i);

/* All of a tensor of expected.safetensors as f32 (or i32 left as it is); aborts the test if it is
 * not there. The caller frees it. */
void *golden_tensor(const gf_source *s, const char *name, int64_t *count);

/* || a - b || / || b || */
double golden_distance(const float *a, const float *b, int64_t n);
/* max |a - b| */
double golden_max(const float *a, const float *b, int64_t n);

#endif
