"""Prints the expected numbers of test_paired.c: ratio estimator and bootstrap in numpy.

    python3 tests/golden/paired.py     (numpy)
"""
import numpy as np

N = 40
w = np.array([5 + i * 7 % 11 for i in range(N)], float)
d = np.array([w[i] * ((i * 37 % 23) / 23 - 0.6) for i in range(N)])
r = d.sum() / w.sum()
error = np.sqrt(np.sum((d - r * w) ** 2) * N / (N - 1)) / w.sum()
pick = np.random.default_rng(0).integers(0, N, (200000, N))
low, high = np.percentile(d[pick].sum(1) / w[pick].sum(1), [2.5, 97.5])
print(repr(float(r)), repr(float(error)), low, high)
