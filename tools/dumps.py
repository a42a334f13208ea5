#!/usr/bin/env python3
"""dumps.py - compares what two devices made of the same tests (tests/support/device_dump.h).

    tools/dumps.py GPU TESTDEV               folders of dumps; exit 1 if a value is out of bounds
    tools/dumps.py GPU TESTDEV --store DIR   then keeps GPU's as golden vectors in DIR
    tools/dumps.py --stored DIR --build DIR  the test device against stored golden vectors; exit 77
                                             if none are stored

Bounds: integers are equal. f32 and fixed point differ by 2^-14 of the tensor's greatest value: both
devices round alike, but sum products over k in another order, which for the longest sums here (some
thousands of terms) is at most sqrt(n) * 2^-24 of the terms' sizes, with room for cancellation. bf16:
by 2^-7 of the value (one rounding may fall the other way, two ulps) and 2^-8 of the greatest."""
import argparse
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ABSOLUTE = {"f32": 2.0 ** -14, "i64": 2.0 ** -14, "bf16": 2.0 ** -8, "i32": 0.0}
RELATIVE = {"f32": 0.0, "i64": 0.0, "bf16": 2.0 ** -7, "i32": 0.0}


def read(path):
    """[(heading without the greatest value, dtype, greatest value, values)]"""
    tensors = []
    for line in path.read_text().splitlines():
        heading, _, values = line.rpartition(":")
        name, dtype, count, most = heading.rsplit(" ", 3)
        tensors.append((f"{name} {dtype} {count}", dtype, float(most),
                        [float(v) for v in values.split()]))
    return tensors


def apart(a, b, dtype, most):
    """How much of the bound two values take; Inf and NaN must be alike."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return 0.0 if a == b or (math.isnan(a) and math.isnan(b)) else math.inf
    bound = ABSOLUTE[dtype] * most + RELATIVE[dtype] * abs(b)
    return abs(a - b) / bound if bound else (0.0 if a == b else math.inf)


def compare(first, second):
    """(tests, tensors, [what differs], the greatest share of a bound)"""
    files = sorted(p.name for p in first.glob("*.txt"))
    bad = [f"{name}: only one device has it" for name in
           sorted(set(files) ^ {p.name for p in second.glob("*.txt")})]
    tensors, worst = 0, 0.0
    for name in (n for n in files if (second / n).exists()):
        a, b = read(first / name), read(second / name)
        if [t[0] for t in a] != [t[0] for t in b]:
            bad.append(f"{name}: other tensors")
            continue
        for (heading, dtype, most, x), (_, _, _, y) in zip(a, b):
            share = max((apart(p, q, dtype, most) for p, q in zip(x, y)), default=0.0)
            tensors += 1
            worst = max(worst, share)
            if share > 1:
                bad.append(f"{name}: {heading}: {share:.2f} times the bound")
    return len(files), tensors, bad, worst


def run_test_device(build, out):
    """The device tests on the test device, dumping to `out`."""
    subprocess.run(["ctest", "--test-dir", build, "-L", "device", "-R", "_1$", "-j", "2"],
                   check=False, stdout=subprocess.DEVNULL,
                   env={**os.environ, "GRAFT_DEVICE_DUMP": str(out)})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    parser.add_argument("--store", type=pathlib.Path)
    parser.add_argument("--stored", type=pathlib.Path)
    parser.add_argument("--build", default="build")
    a = parser.parse_args()
    if a.stored:
        golden = sorted(p for p in a.stored.glob("*/") if any(p.glob("*.txt")))
        if not golden:
            print(f"skipped: no GPU's golden vectors in {a.stored} (tools/gpu-check.sh stores them)")
            return 77
        with tempfile.TemporaryDirectory() as out:
            run_test_device(a.build, out)
            pairs = [(g, pathlib.Path(out)) for g in golden]
            results = [(first, compare(first, second)) for first, second in pairs]
    elif len(a.folders) == 2:
        results = [(a.folders[0], compare(*a.folders))]
    else:
        parser.error("two folders, or --stored")
    code = 0
    for first, (tests, tensors, bad, worst) in results:
        for line in bad:
            print(line)
        print(f"dumps: {first}: {tests} tests, {tensors} tensors, {len(bad)} out of bounds, the "
              f"furthest at {worst:.3f} of its bound")
        code = code or (1 if bad or not tensors else 0)
    if a.store and code == 0:
        a.store.mkdir(parents=True, exist_ok=True)
        for path in sorted(a.folders[0].glob("*.txt")):
            shutil.copy(path, a.store / path.name)
        print(f"dumps: stored in {a.store}")
    return code


if __name__ == "__main__":
    sys.exit(main())
