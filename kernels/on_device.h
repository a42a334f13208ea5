/* on_device.h - how a call that a CPU answers here is handed to a device's backend, in builds that
 * have one. */
#ifndef GRAFT_KERNELS_ON_DEVICE_H
#define GRAFT_KERNELS_ON_DEVICE_H

#ifdef GRAFT_CUDA
#include "cuda/cuda.h"
#define ON_DEVICE(call)                                                                            \
    do {                                                                                           \
        if (be->cuda)                                                                              \
            return call;                                                                           \
    } while (0)
#else
#define ON_DEVICE(call) (void)be
#endif

#endif
