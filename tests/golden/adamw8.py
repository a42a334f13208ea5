"""Writes adamw8.json: bitsandbytes' 8-bit AdamW (its CPU implementation), for test_adamw8.c: the maps,
and values with dequantised moments after some updates. Gradients are numbers that C makes, too.
Codes are made by bitsandbytes' own path for other types than f32, which takes the nearest as its
CUDA kernels do; its CPU library for f32 looks them up in a table that is too coarse for values below
2e-5 of the largest.

    python3 tests/golden/adamw8.py > tests/golden/adamw8.json     (bitsandbytes 0.50, torch)
"""
import json

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as cpu
import bitsandbytes.functional as F
import torch

N, STEPS, LR = 300, 12, 1e-3  # a block and a part of one


def draw(step, i):  # 20 bits of a linear congruential generator's third number
    x = (step * 7919 + i * 104729 + 12345) & 0xFFFFFFFF
    for _ in range(3):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
    return (x >> 12) - (1 << 19)


def gradient(step, i):  # a multiple of 2^-40: sizes over four decades
    return draw(step, i) * 2.0 ** -(20 + i % 14)


def quantize(x, code, absmax, out, blocksize):
    codes, most = torch.ops.bitsandbytes.quantize_blockwise(x.double(), code, blocksize)
    out.copy_(codes)
    absmax.copy_(most)


cpu._quant_blockwise_fp32_direct = quantize


def plain(t):  # nine digits: f32 reads back exactly
    return [float("%.9g" % x) for x in t.detach().tolist()]


def main():
    p = torch.nn.Parameter(torch.tensor([draw(0, i) * 2.0 ** -20 for i in range(N)]))
    o = bnb.optim.AdamW8bit([p], lr=LR, weight_decay=0.0, min_8bit_size=0)
    after = []
    for step in range(1, STEPS + 1):
        p.grad = torch.tensor([gradient(step, i) for i in range(N)], dtype=torch.float32)
        o.step()
        if step in (1, 2, STEPS):
            s = o.state[p]
            m = F.dequantize_blockwise(s["state1"], absmax=s["absmax1"], code=s["qmap1"], blocksize=256)
            v = F.dequantize_blockwise(s["state2"], absmax=s["absmax2"], code=s["qmap2"], blocksize=256)
            after.append({"step": step, "value": plain(p), "m": plain(m), "v": plain(v)})
    s = o.state[p]
    print(json.dumps({"n": N, "lr": LR, "signed": plain(s["qmap1"]), "unsigned": plain(s["qmap2"]),
                      "after": after}))


main()
