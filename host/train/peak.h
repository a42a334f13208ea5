/* peak.h - what GPUs can do at most: FLOP/s of dense bf16 products with f32 sums, from NVIDIA's
 * data sheets. */
#ifndef GRAFT_HOST_TRAIN_PEAK_H
#define GRAFT_HOST_TRAIN_PEAK_H

#define GF_PEAK_H100 989.4e12 /* SXM; the H200 has the same */
#define GF_PEAK_H100_PCIE 756e12
#define GF_PEAK_A100 312e12
#define GF_PEAK_L40S 362e12
#define GF_PEAK_L4 121e12
#define GF_PEAK_RTX4090 165.2e12

/* X(what the driver's name begins with, peak): the first that fits counts. */
#define GF_PEAK_LIST(X)                                                                            \
    X("NVIDIA H100 PCIe", GF_PEAK_H100_PCIE)                                                       \
    X("NVIDIA H100", GF_PEAK_H100)                                                                 \
    X("NVIDIA H200", GF_PEAK_H100)                                                                 \
    X("NVIDIA A100", GF_PEAK_A100)                                                                 \
    X("NVIDIA L40S", GF_PEAK_L40S)                                                                 \
    X("NVIDIA L4", GF_PEAK_L4)                                                                     \
    X("NVIDIA GeForce RTX 4090", GF_PEAK_RTX4090)

#endif
