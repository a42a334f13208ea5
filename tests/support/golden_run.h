/* golden_run.h - a reference case's recipe through the program, and what came out against what PEFT
 * wrote (golden/README). */
#ifndef GRAFT_TESTS_SUPPORT_GOLDEN_RUN_H
#define GRAFT_TESTS_SUPPORT_GOLDEN_RUN_H

#include "format/source.h"

enum { GOLDEN_STEPS = 12 };

typedef struct {
    double loss;    /* absolute */
    double norm;    /* of the gradient norm, relative */
    double adapter; /* || trained - reference || / || reference - init ||, tensor by tensor */
} golden_bounds;

/* golden/README: what f32 and another order of summation may differ by. */
#define GOLDEN_FP32 ((golden_bounds){.loss = 1e-5, .norm = 1e-5, .adapter = 1e-3})

/* The options of a case's recipe, from its expected.json, without --precision and --output-dir. */
char *golden_recipe(const char *dir);
/* graft train; asserts that it ends well. `more`: further options. */
void golden_train(const char *options, const char *more, const char *out);
void golden_check_metrics(const char *dir, const char *out, golden_bounds b);
void golden_check_adapter(const char *dir, const char *out, golden_bounds b);
void golden_open_tensors(gf_source *s, const char *dir, const char *name);

#endif
