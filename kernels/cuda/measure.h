/* measure.h - the device's side of graft/measure.h. */
#ifndef GRAFT_KERNELS_CUDA_MEASURE_H
#define GRAFT_KERNELS_CUDA_MEASURE_H

#include "graft/measure.h"

gf_status gf_cuda_timer_start(gf_backend *be, gf_timer *t);                 /* timer.c */
gf_status gf_cuda_timer_stop(gf_backend *be, gf_timer *t, double *seconds); /* timer.c */
void gf_cuda_timer_close(gf_backend *be, gf_timer *t);                      /* timer.c */
gf_status gf_cuda_device_look(const gf_backend *be, gf_device_state *out, gf_err *err); /* nvml.c */

#endif
