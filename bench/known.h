/* known.h - models by name, as data, and folders of them that hold headers only: a config.json and
 * a file of the right size without a byte written, which plans as the real one does. */
#ifndef GRAFT_BENCH_KNOWN_H
#define GRAFT_BENCH_KNOWN_H

#include "model/files.h"

typedef struct {
    const char *name;
    const char *type, *architecture; /* as in config.json */
    int64_t L, D, H, G, K, F, V;
    double theta;
    int64_t max_position;
    bool tied, attention_bias;
} bench_known;

extern const bench_known bench_known_models[];
extern const int bench_known_count;

const bench_known *bench_find_known(const char *name); /* NULL: none of that name */

/* Makes `dir` with the model's files, bf16, or what is left of it after an error. */
gf_status bench_known_write(const bench_known *m, const char *dir, gf_err *err);
/* Removes such a folder. */
void bench_known_remove(const char *dir);

#endif
