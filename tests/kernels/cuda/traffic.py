#!/usr/bin/env python3
"""traffic.py - what the kernels' memory accesses cost against what they must, counted exactly.

    traffic.py --run PROGRAM --fatbins DIR [--except FILE] [--table]

Runs PROGRAM (traffic.c) on the test device, which LD_LIBRARY_PATH puts in front, and judges the
counters of every kernel in DIR/*.fatbin: shared-memory wavefronts (bank conflicts) and global
sectors (coalescing), each over the least that the same bytes could take. A kernel over the limit is
an error unless FILE allows it: "kernel  shared|global  ratio  reason". So is a kernel that was not
run, and a line of FILE that is no longer needed. At most three lines. Exit 1 if something is off."""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

LIMIT = {"shared": 1.05, "global": 1.15}
FIELDS = {"shared": ("shared_wavefronts", "shared_ideal"),
          "global": ("global_sectors", "global_ideal")}
MOST_EXCEPTIONS, MOST_ALLOWED = 3, 1.5


def kernels_of(folder):
    names = set()
    for path in sorted(pathlib.Path(folder).glob("*.fatbin")):
        names |= {m.decode() for m in re.findall(rb"\.entry\s+(\w+)", path.read_bytes())}
    return names


def measure(program):
    """kernel -> counters, added up over the processes that ran it"""
    total = {}
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        env = dict(os.environ, PTXVM_REPORT=report, PTXVM_CHECK="bounds", GRAFT_REQUIRE_GPU="1")
        ran = subprocess.run([program, "-j1"], env=env, check=False)
        if ran.returncode != 0:
            sys.exit(f"traffic: {program} failed")
        with open(report, encoding="utf-8") as lines:
            for line in lines:
                one = json.loads(line)
                into = total.setdefault(one.pop("kernel"), {})
                for field, value in one.items():
                    into[field] = into.get(field, 0) + value
    return total


def ratio(counters, kind):
    done, ideal = (counters[field] for field in FIELDS[kind])
    return done / ideal if ideal else 1.0


def read_exceptions(path):
    allowed, bad = {}, []
    for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        words = line.split(None, 3)
        if len(words) < 4 or words[1] not in LIMIT:
            bad.append(f"{path}:{number}: not 'kernel shared|global ratio reason'")
            continue
        allowed[words[0], words[1]] = float(words[2])
        if float(words[2]) > MOST_ALLOWED:
            bad.append(f"{path}:{number}: {words[2]} is more than any exception may have, {MOST_ALLOWED}")
    if len(allowed) > MOST_EXCEPTIONS:
        bad.append(f"{path}: {len(allowed)} exceptions, {MOST_EXCEPTIONS} at most")
    return allowed, bad


def judge(kernels, measured, allowed):
    bad = [f"{name}: traffic.c does not run it" for name in sorted(kernels - set(measured))]
    needed = set()
    for name in sorted(kernels & set(measured)):
        for kind, limit in LIMIT.items():
            found = ratio(measured[name], kind)
            if found <= limit:
                continue
            needed.add((name, kind))
            most = allowed.get((name, kind), limit)
            if found > most:
                bad.append(f"{name}: {kind} {found:.3f} times the ideal, {most} at most")
    bad += [f"{name} {kind}: no longer needs its exception"
            for name, kind in sorted(set(allowed) - needed)]
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--fatbins", required=True)
    parser.add_argument("--except", dest="exceptions", required=True)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    kernels, measured = kernels_of(args.fatbins), measure(args.run)
    if not kernels:
        sys.exit(f"traffic: no fatbin in {args.fatbins}")
    allowed, bad = read_exceptions(args.exceptions)
    bad += judge(kernels, measured, allowed)
    for name in sorted(measured) if args.table or bad else []:
        print(f"{name:28} shared {ratio(measured[name], 'shared'):6.3f}"
              f"  global {ratio(measured[name], 'global'):6.3f}")
    print("\n".join(bad) if bad else f"traffic: {len(kernels)} kernels within their limits")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
