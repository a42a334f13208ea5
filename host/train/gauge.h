/* gauge.h - a GPU's load, power, memory and temperature, asked for once a second by a thread of its
 * own, so that a run never waits for the answer. */
#ifndef GRAFT_HOST_TRAIN_GAUGE_H
#define GRAFT_HOST_TRAIN_GAUGE_H

#include "graft/measure.h"

typedef struct gf_gauge gf_gauge;

/* Asks once at once. GF_EMISSING with the reason where nothing answers: a CPU, no NVML. The backend
 * must outlive the gauge. */
gf_status gf_gauge_open(gf_gauge **g, const gf_backend *be, gf_err *err);
/* The last answer. NULL leaves *out as it is. */
void gf_gauge_read(gf_gauge *g, gf_device_state *out);
void gf_gauge_close(gf_gauge *g); /* NULL is fine */

#endif
