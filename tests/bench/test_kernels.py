#!/usr/bin/env python3
"""bench on the test device: every op at tiny sizes is checked, timed and reported with all fields;
a whole step too. What the times are means nothing here.

    test_kernels.py BENCH TESTDEV MODEL"""
import json
import os
import subprocess
import sys
import unittest

BENCH, TESTDEV, MODEL = sys.argv[1:4]
COMMON = {"schema", "git", "build", "host", "gpu", "cublas", "nccl", "bench"}
KERNEL = {"kernel", "model", "dtype", "tokens", "samples", "t_median_us", "t_p10", "t_p90",
          "noise_pct", "cold_us", "batch_us", "flops", "bytes", "tflops", "gbps", "peak_tf",
          "peak_gbps", "limit_us", "pct_roofline", "launches", "max_abs", "max_rel",
          "predicted_us", "pred_ratio"}
# Of the clocks while it ran: what NVML says, or why it says nothing.
CLOCKS = {"mhz_before", "mhz_after", "mhz_most", "throttled"}
OPS = ["embed_fwd", "rmsnorm_fwd", "linear_fwd qkv", "linear_fwd o", "linear_fwd gate_up",
       "linear_fwd down", "linear_fwd head", "rope", "attention_fwd", "glu_fwd", "gather_rows",
       "xent", "scatter_rows", "rmsnorm_bwd", "linear_bwd qkv", "linear_bwd o",
       "linear_bwd gate_up", "linear_bwd down", "linear_bwd head", "attention_bwd", "glu_bwd",
       "group_tails", "sum_squares", "adamw", "adamw8", "lion"]


def bench(*args):
    library = os.pathsep.join([TESTDEV, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep)
    done = subprocess.run([BENCH, *args, "--device", "cuda", "--json", "--threads", "1"], check=False,
                          capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": library, "PTXVM_CHECK": "bounds"})
    if done.returncode:
        raise AssertionError(f"{args}: exit {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


class OnTheTestDevice(unittest.TestCase):
    def test_kernels(self):
        lines = bench("kernels", "--shape", "tiny", "--seconds", "0.001")
        self.assertEqual([line["kernel"] for line in lines], OPS)
        for line in lines:
            self.assertLessEqual(COMMON | KERNEL, set(line), line["kernel"])
            self.assertTrue("clocks" in line or CLOCKS <= set(line), line["kernel"])
            self.assertGreaterEqual(line["samples"], 10)
            self.assertGreater(line["t_median_us"], 0)
            self.assertLessEqual(line["t_p10"], line["t_p90"])
            self.assertGreaterEqual(line["launches"], 1, line["kernel"])
            self.assertGreater(line["bytes"], 0, line["kernel"])

    def test_step(self):
        lines = bench("step", "--model", MODEL, "--tokens", "48", "--steps", "3", "--rank", "4")
        self.assertEqual([line["precision"] for line in lines], ["bf16", "fp32"])
        for line in lines:
            self.assertLessEqual(COMMON, set(line))
            self.assertGreater(line["tokens/s"], 0)
            self.assertLess(line["loss_last"], line["loss_first"])
            self.assertEqual(line["plan_MiB"], line["used_MiB"])
            self.assertGreaterEqual(line["replayed_%"], 80)  # all but the first

    def test_roofline(self):
        line, = bench("roofline", "--shape", "tiny", "--seconds", "0.001")
        self.assertGreaterEqual(line["copy_gb_s"], 0)  # rates of a busy CPU may round to 0
        self.assertGreaterEqual(line["gemm_tf"], 0)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(TESTDEV, "libcuda.so.1")):
        print(f"skipped: no test device in {TESTDEV} (it needs nvcc and a C++ compiler)")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
