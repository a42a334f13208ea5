#!/usr/bin/env python3
"""budgets.py - what the compiled kernels cost, read from their SASS, against kernels/budgets.txt.

    tools/budgets.py --check  [--build DIR]   a number that is worse than the table's is an error
    tools/budgets.py --update [--build DIR]   writes the table (architectures that were not built stay)
    tools/budgets.py --pipe   [--build DIR]   the share of the tensor pipe in each kernel's hot loop

Reads every *.fatbin below DIR (default: build) with cuobjdump and nvdisasm, which
`tools/setup.sh budgets` puts into build/tools. Exit 1 if something is worse, 77 if there is nothing
to read or to read with. No GPU is needed."""
import argparse
import collections
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "kernels" / "budgets.txt"
COLUMNS = ["regs", "stack", "shared", "local", "mma", "ldsm", "wide", "global", "generic", "call",
           "f64"]
# Zero for every kernel, unless an `allow` line of the table says why not.
NEVER = {"stack": "a stack", "local": "loads or stores of local memory (spills)",
         "generic": "accesses that do not know their address space",
         "call": "calls (divisions, square roots)", "f64": "double precision"}
HEAD = """\
# budgets.txt - what each kernel costs on each architecture, read from its SASS by tools/budgets.py.
# A test compares the build with it: numbers may improve, not worsen. After an improvement, or for a
# new kernel: tools/budgets.py --update.
#
#   regs     registers a thread            stack    bytes
#   shared   static bytes a block, from 9.0 on with the 1024 that the system keeps
#   local    loads and stores of local memory: spills are these       mma     tensor instructions
#   ldsm     ldmatrix instructions; ldsm / mma must not rise           call    calls of subroutines
#   wide     of the `global` loads, stores and asynchronous copies, those of 128 bits or more: their
#            share must not fall
#   generic  loads and stores without an address space                 f64     in double precision
#
# Numbers of another release of nvcc than the table's are not compared.
# stack, local, generic, call and f64 are zero, except for (column, kernel, reason):
"""


def tool(name):
    """cuobjdump or nvdisasm: from the PATH, GRAFT_CUDA_TOOLS or build/tools; None: not here."""
    found = [os.environ.get("GRAFT_CUDA_TOOLS", "")]
    found += [str(p.parent) for p in (ROOT / "build" / "tools").glob("cuda/nvidia/*/bin/" + name)]
    return shutil.which(name, path=os.pathsep.join([p for p in found if p])) or shutil.which(name)


# ---- reading SASS ---------------------------------------------------------------------------------

INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
RESOURCE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
WIDE = re.compile(r"\.(128|256)\b")


def count(opcode, row):
    """Adds one instruction to its kernel's row."""
    base = opcode.split(".")[0]
    if base in ("LDG", "STG", "LDGSTS"):
        row["global"] += 1
        row["wide"] += bool(WIDE.search(opcode))
    elif base in ("LD", "ST"):
        row["generic"] += 1
    elif base in ("LDL", "STL"):
        row["local"] += 1
    elif base in ("HMMA", "IMMA", "QMMA", "OMMA", "HGMMA", "DMMA"):
        row["mma"] += 1
    elif base == "LDSM":
        row["ldsm"] += 1
    elif base in ("CALL", "JCAL"):
        row["call"] += 1
    if base in ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX", "DMMA") or ".F64" in opcode:
        row["f64"] += 1


def leaves_loop(address, opcode, operands):
    """For sm_80 the end of a loop may be `@P0 CALL.REL.NOINC next; BRA start; next:`, which calls
    nothing: nobody returns from it."""
    target = re.search(r"0x([0-9a-f]+)", operands)
    return opcode.startswith("CALL.REL") and target and int(target.group(1), 16) == address + 0x20


def read_sass(text):
    """{kernel: (row, [(address, opcode, operands)])} of `cuobjdump -sass`."""
    kernels, row, code = {}, None, None
    for line in text.splitlines():
        if "Function : " in line:
            row, code = dict.fromkeys(COLUMNS, 0), []
            kernels[line.split("Function : ")[1].strip()] = (row, code)
            continue
        found = INSTRUCTION.match(line)
        if found and row is not None:
            address, opcode, operands = int(found.group(1), 16), found.group(2), found.group(3)
            if not leaves_loop(address, opcode, operands):
                count(opcode, row)
            code.append((address, opcode, operands))
    return kernels


def read_resources(text, kernels):
    """Registers, stack and shared memory of `cuobjdump -res-usage`."""
    name = None
    for line in text.splitlines():
        if line.strip().startswith("Function "):
            name = line.strip()[len("Function "):].rstrip(":")
        found = RESOURCE.search(line)
        if found and name in kernels:
            row = kernels[name][0]
            row["regs"], row["stack"], row["shared"] = (int(found.group(i)) for i in (1, 2, 3))


def run(*command):
    path = os.pathsep.join([os.path.dirname(tool("nvdisasm")), os.environ.get("PATH", "")])
    done = subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, "PATH": path}, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def read_image(path, arch):
    kernels = read_sass(run(tool("cuobjdump"), "-sass", "-arch", arch, path))
    read_resources(run(tool("cuobjdump"), "-res-usage", "-arch", arch, path), kernels)
    return kernels


def architectures(path):
    return sorted(set(re.findall(r"\.(sm_\d+[af]?)\.cubin", run(tool("cuobjdump"), "-lelf", path))))


def fatbins(build):
    """One path for each module, in order; the newest if a module was built twice."""
    newest = {}
    for path in sorted(pathlib.Path(build).rglob("*.fatbin"), key=lambda p: p.stat().st_mtime):
        newest[path.stem] = path
    return [newest[name] for name in sorted(newest)]


def measure(build):
    """{(module, kernel, arch): row} of a build; what did not change comes from a cache there."""
    cache = pathlib.Path(build) / "budgets.json"
    known = json.loads(cache.read_text()) if cache.exists() else {}
    mark = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    fresh, rows = {}, {}

    def one(path):
        key = mark + hashlib.sha256(path.read_bytes()).hexdigest()
        if key not in known:
            known[key] = [[kernel, arch, row] for arch in architectures(path)
                          for kernel, (row, _) in read_image(path, arch).items()]
        return path.stem, key

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for module, key in pool.map(one, fatbins(build)):
            fresh[key] = known[key]
            rows.update({(module, kernel, arch): row for kernel, arch, row in known[key]})
    cache.write_text(json.dumps(fresh))
    return rows


# ---- the table ------------------------------------------------------------------------------------

def compiler():
    """The release of nvcc, which registers and instructions depend on."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    try:
        text = subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    found = re.search(r"V(\d+(?:\.\d+)+)", text)
    return found.group(1) if found else "unknown"


def made_by(text):
    """The release that a table's text names."""
    found = re.search(r"^compiler (\S+)", text, re.MULTILINE)
    return found.group(1) if found else compiler()


def read_table(text):
    """({(module, kernel, arch): row}, [(column, pattern, reason)])"""
    rows, allowed = {}, []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["compiler"]:
            continue
        if words[:1] == ["allow"]:
            allowed.append((words[1], words[2], " ".join(words[3:])))
        elif words and not line.startswith("#") and words[:3] != ["module", "kernel", "arch"]:
            rows[tuple(words[:3])] = dict(zip(COLUMNS, map(int, words[3:])))
    return rows, allowed


def write_table(rows, allowed):
    lines = [("module", "kernel", "arch", *COLUMNS)]
    lines += [(*key, *(rows[key][c] for c in COLUMNS)) for key in sorted(rows)]
    width = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    text = [HEAD.rstrip("\n"), f"compiler {compiler()}"]
    text += [f"allow {column} {pattern} {reason}" for column, pattern, reason in allowed]
    for line in lines:
        words = [str(word).ljust(width[i]) if i < 3 else str(word).rjust(width[i])
                 for i, word in enumerate(line)]
        text.append(" ".join(words).rstrip())
    return "\n".join(text) + "\n"


def forbidden(rows, allowed):
    """What no kernel may have, and has without an `allow` line."""
    bad = []
    for (module, kernel, arch), row in sorted(rows.items()):
        for column, what in NEVER.items():
            if row[column] and not any(a == column and fnmatch.fnmatchcase(kernel, pattern)
                                       for a, pattern, _ in allowed):
                bad.append(f"{module}: {kernel} {arch}: {row[column]} {column}: {what}")
    return bad


def ratio(part, whole):
    return part / whole if whole else 0.0


def compare(now, was):
    """(what is worse, what is better) of one kernel, as words."""
    worse, better = [], []

    def judge(name, old, new, text):
        if new != old:
            (worse if new > old else better).append(text or f"{name} {old} -> {new}")

    for column in ("regs", "stack", "shared", "local", "generic", "call", "f64"):
        judge(column, was[column], now[column], None)
    judge("mma", -min(was["mma"], 1), -min(now["mma"], 1), f"mma {was['mma']} -> {now['mma']}")
    old, new = ratio(was["ldsm"], was["mma"]), ratio(now["ldsm"], now["mma"])
    judge("ldsm", old, new, f"ldsm/mma {old:.3f} -> {new:.3f}")
    old, new = (ratio(r["wide"], r["global"]) if r["global"] else 1.0 for r in (was, now))
    judge("wide", -old, -new, f"128-bit share {old:.3f} -> {new:.3f} ({was['wide']} of "
          f"{was['global']} -> {now['wide']} of {now['global']})")
    return worse, better


def check(rows, table, allowed):
    """(errors, hints)"""
    errors, hints = forbidden(rows, allowed), []
    built = {arch for _, _, arch in rows}
    for key in sorted(set(rows) | {k for k in table if k[2] in built}):
        name = f"{key[0]}: {key[1]} {key[2]}"
        if key not in table:
            errors.append(f"{name}: is not in the table")
        elif key not in rows:
            errors.append(f"{name}: is in the table, but not in the build")
        else:
            worse, better = compare(rows[key], table[key])
            errors += [f"{name}: worse: {text}" for text in worse]
            hints += [f"{name}: better: {text}" for text in better]
    return errors, hints


# ---- the hot loop ---------------------------------------------------------------------------------

# Cycles that one instruction of a warp takes on its pipe, per multiprocessor quarter: PERFORMANCE
# 3.2's model. On 9.0 mma.sync has 6.45 (63 % of the tensor rate that wgmma reaches).
PIPES = {"sm_80": {"mma": 8.0, "fp32": 2.0, "int": 2.0, "mufu": 8.0, "ldsm": 16.0},
         "sm_90": {"mma": 6.45, "fp32": 1.0, "int": 2.0, "mufu": 8.0, "ldsm": 16.0}}
KINDS = {"mma": ("HMMA",), "ldsm": ("LDSM",), "mufu": ("MUFU",),
         "fp32": ("FMUL", "FFMA", "FADD", "FMNMX", "FSETP", "FSEL", "F2FP"),
         "int": ("IMAD", "IADD3", "LOP3", "SHF", "LEA", "ISETP", "PRMT", "SEL", "VIADD")}


def hot_loop(code):
    """Instructions of the longest loop: what the longest backward branch spans."""
    best = (0, -1)
    for address, opcode, operands in code:
        target = re.search(r"0x([0-9a-f]+)", operands) if opcode.startswith("BRA") else None
        if target and int(target.group(1), 16) < address:
            span = (int(target.group(1), 16), address)
            best = max(best, span, key=lambda s: s[1] - s[0])
    return collections.Counter(opcode.split(".")[0] for address, opcode, _ in code
                               if best[0] <= address <= best[1])


def pipe(build):
    for path in fatbins(build):
        for arch in sorted(set(architectures(path)) & set(PIPES)):
            for kernel, (row, code) in sorted(read_image(path, arch).items()):
                loop = hot_loop(code)
                n = {kind: sum(loop[op] for op in ops) for kind, ops in KINDS.items()}
                if not row["mma"] or not n["mma"]:
                    continue
                cycles = {kind: n[kind] * PIPES[arch][kind] for kind in KINDS}
                cycles["issue"] = sum(loop.values())
                limit = max(cycles, key=cycles.get)
                print(f"{path.stem:16} {kernel:40} {arch} loop {sum(loop.values()):5} "
                      f"mma {n['mma']:4} ldsm {n['ldsm']:4} tensor pipe "
                      f"{cycles['mma'] / cycles[limit]:.2f} (limit: {limit})")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    for name in ("check", "update", "pipe"):
        what.add_argument("--" + name, action="store_true")
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--table", default=str(TABLE))
    a = parser.parse_args()
    if not fatbins(a.build):
        print(f"skipped: no *.fatbin below {a.build}: built without nvcc")
        return 77
    if not tool("cuobjdump") or not tool("nvdisasm"):
        print("skipped: no cuobjdump and nvdisasm (tools/setup.sh budgets)")
        return 77
    if a.pipe:
        pipe(a.build)
        return 0
    rows = measure(a.build)
    path = pathlib.Path(a.table)
    table, allowed = read_table(path.read_text()) if path.exists() else ({}, [])
    built = {arch for _, _, arch in rows}
    if a.update:
        kept = {key: row for key, row in table.items() if key[2] not in built}
        path.write_text(write_table({**kept, **rows}, allowed))
        print(f"budgets: {len(rows)} kernels written to {path}, {len(kept)} kept")
        for line in forbidden(rows, allowed):
            print(line)
        return 1 if forbidden(rows, allowed) else 0
    if path.exists() and made_by(path.read_text()) != compiler():
        print(f"budgets: nvcc {compiler()}, the table is of {made_by(path.read_text())}: only what no "
              "kernel may have is checked")
        errors, hints = forbidden(rows, allowed), []
    else:
        errors, hints = check(rows, table, allowed)
    for line in errors + hints:
        print(line)
    if hints and not errors:
        print("budgets: better than the table: tools/budgets.py --update")
    missing = {arch for _, _, arch in table} - built
    note = f" ({', '.join(sorted(missing))} not in this build)" if missing else ""
    print(f"budgets: {len(rows)} kernels, {len(errors)} errors{note}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
