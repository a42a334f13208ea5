/* space.h - the adapter's values and optimizer state where the host can read and write them: in
 * place on a CPU, as copies of a device's. */
#ifndef GRAFT_HOST_MODEL_SPACE_H
#define GRAFT_HOST_MODEL_SPACE_H

#include "model/model.h"

typedef struct {
    float *value;             /* [size] */
    void *moment[GF_MOMENTS]; /* only while training; NULL: no such part */
    gf_model *model;
    void *memory; /* of the copies; NULL on a CPU */
} gf_space;

/* Opens the space of a model that has an adapter. With fetch, copies hold what the device has
 * (waits for it); else they are zero. Close it whatever comes back. */
gf_status gf_space_open(gf_space *s, gf_model *m, bool fetch, gf_err *err);
/* Brings what the host wrote to the device, the moments too, and the values to the weights' tails.
 */
gf_status gf_space_push(gf_space *s, gf_err *err);
/* Writes the first values of a new adapter; to be pushed. */
gf_status gf_space_start(gf_space *s, gf_init init, uint64_t seed, gf_err *err);
void gf_space_close(gf_space *s);

#endif
