"""Prints the expected numbers of test_lion.c: lion-pytorch's formula in torch, f64 and f32.

    python3 tests/golden/lion.py     (torch)
"""
import torch

LR, B1, B2, DECAY = 0.01, 0.9, 0.99, 0.1
GRADIENTS = [[0.5, -0.25, 0.0, 1e-3], [-4.0, 0.25, 0.0, -1e-3], [2.0, 2.5, 0.0, 9e-3]]

for dtype in (torch.float64, torch.float32):
    p, m = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=dtype), torch.zeros(4, dtype=dtype)
    for g in GRADIENTS:
        g = torch.tensor(g, dtype=dtype)
        p.mul_(1 - LR * DECAY)
        p.add_(m.clone().mul_(B1).add(g, alpha=1 - B1).sign_(), alpha=-LR)
        m.mul_(B2).add_(g, alpha=1 - B2)
        print(dtype, [x.item() for x in p], [x.item() for x in m])
