/* measure.h - time and state of a backend, for bench/ and for who watches a run. */
#ifndef GRAFT_MEASURE_H
#define GRAFT_MEASURE_H

#include "graft/ops.h"

/* How long what is enqueued between start and stop takes: on a device its own clock at both places
 * of the stream, on a CPU the time that passes. Zero before the first start; close it before the
 * backend. */
typedef struct {
    void *event[2]; /* of a device */
    double start;   /* of a CPU, seconds */
} gf_timer;

gf_status gf_timer_start(gf_backend *be, gf_timer *t);
/* Waits for all that was enqueued. */
gf_status gf_timer_stop(gf_backend *be, gf_timer *t, double *seconds);
void gf_timer_close(gf_backend *be, gf_timer *t);

/* What a GPU's own monitor (NVML) says now. */
typedef struct {
    unsigned clock, clock_most; /* MHz of the multiprocessors */
    unsigned watts, watts_most; /* power, and the limit that is set */
    unsigned celsius;
    unsigned busy;                /* percent of the last moments in which a kernel ran */
    uint64_t memory_used, memory; /* bytes, of all processes */
    bool throttled;               /* clocks are held down by power, heat or a brake */
} gf_device_state;

/* GF_EMISSING with the reason: no device, no NVML, or it does not know this device. Takes some
 * milliseconds. May be called while another thread uses the backend. */
gf_status gf_device_look(const gf_backend *be, gf_device_state *out, gf_err *err);

#endif
