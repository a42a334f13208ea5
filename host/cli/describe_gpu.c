/* describe_gpu.c - the GPUs of this machine and what belongs to them. Contract: describe.h. */
#include "cli/describe.h"

#include "base/number.h"

static gf_status one_gpu(int number, gf_buf *out, gf_err *err)
{
    gf_device d;
    gf_err why = {0};
    if (gf_cuda_device(&d, number, &why) != GF_OK) /* one that is broken hides no other */
        return gf_describe_line(out, err, "gpu", "%d: %s", number, why.text);
    return gf_describe_line(out, err, "gpu",
                            "%d: %s, compute capability %d.%d, %d multiprocessors, %s, of which %s "
                            "free",
                            number, d.name, d.major, d.minor, d.multiprocessors,
                            gf_number_bytes_short(d.memory).text,
                            gf_number_bytes_short(d.free_).text);
}

/* Versions as these libraries number themselves: 13010 is 13.1 of the driver, 130100 is 13.1.0 of
 * cuBLASLt, 22703 is 2.27.3 of NCCL. */
static gf_status library(const char *name, int version, const char *missing, gf_buf *out,
                         gf_err *err)
{
    if (version == 0)
        return gf_describe_line(out, err, name, "not found; %s", missing);
    return gf_describe_line(out, err, name, "%d.%d.%d", version / 10000, version / 100 % 100,
                            version % 100);
}

gf_status gf_describe_gpus(gf_buf *out, gf_err *err)
{
    gf_cuda_machine m;
    gf_cuda_look(&m);
    if (m.driver > 0)
        TRY(gf_describe_line(out, err, "cuda driver", "for CUDA %d.%d", m.driver / 1000,
                             m.driver % 1000 / 10));
    if (m.devices == 0)
        return gf_describe_line(out, err, "gpu", "none: %s", m.why);
    for (int i = 0; i < m.devices; i++)
        TRY(one_gpu(i, out, err));
    TRY(library("cuBLASLt", m.cublaslt,
                "graft needs libcublasLt.so.13 or .12: install cuBLAS (of the CUDA toolkit, or "
                "pip's nvidia-cublas) and put its folder into LD_LIBRARY_PATH",
                out, err));
    return library("nccl", m.nccl,
                   "several GPUs need libnccl.so.2: install NCCL (libnccl2, or pip's nvidia-nccl) "
                   "and put its folder into LD_LIBRARY_PATH",
                   out, err);
}
