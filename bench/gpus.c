/* gpus.c - the one table of peaks and efficiencies.
 *
 * peak, memory   train/peak.h; memory as nvidia-smi shows it.
 * copy           published copy measurements: H100 3.0 of 3.35 TB/s, A100-80G 1.75 of 2.04, RTX
 *                4090 0.93 of 1.008 (PERFORMANCE 1.6).
 * gemm           0.71 on all: an H100 sustains 762 to 798 TF/s on 8192^3 for a moment, and 700
 *                under a long load, where its 700 W limit lowers the clock (PERFORMANCE 1.6). The
 *                others reach more (A100 0.80, RTX 4090 0.96 of the sheet, published); no number
 *                of graft's own exists, so none is claimed.
 * stream         0.90: hand-written row kernels reach 88 to 97 % of the copy rate (published;
 *                PERFORMANCE 4.1).
 * attention      kernels with mma.sync, as graft's. H100: FlashAttention-2's published forward is
 *                338 TF/s (causal, K 128); its rate over the 7 products that graft's two
 *                deterministic kernels execute, counted as 5, gives 338 * 5/7 = 241. A100: 185 and
 *                140, RTX 4090: 140 and 105, by the same rule from published forwards
 *                (PERFORMANCE 3.1, 1.6).
 * gap            0.8 us between kernels of a replayed graph (PERFORMANCE 1.6). */
#include "gpus.h"

#include <string.h>

#include "train/peak.h"

#define MIB (double)(1 << 20)

const bench_gpu bench_gpus[] = {
    {"H100-SXM", "NVIDIA H100", GF_PEAK_H100, 81559 * MIB, 3.0e12, 0.71, 0.90, 338e12, 241e12,
     0.8e-6},
    {"A100-80G", "NVIDIA A100", GF_PEAK_A100, 81920 * MIB, 1.75e12, 0.71, 0.90, 185e12, 140e12,
     0.8e-6},
    {"RTX4090", "NVIDIA GeForce RTX 4090", GF_PEAK_RTX4090, 24564 * MIB, 0.93e12, 0.71, 0.90,
     140e12, 105e12, 0.8e-6},
};
const int bench_gpu_count = sizeof bench_gpus / sizeof *bench_gpus;

const bench_gpu *bench_find_gpu(const char *name)
{
    for (int i = 0; i < bench_gpu_count; i++)
        if (strcmp(name, bench_gpus[i].name) == 0 ||
            strncmp(name, bench_gpus[i].match, strlen(bench_gpus[i].match)) == 0)
            return &bench_gpus[i];
    return NULL;
}
