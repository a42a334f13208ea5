#!/bin/sh
# gpu-check.sh - everything that needs a GPU, in one command: builds, runs every device test on the
# GPU, compares what it made with what the test device makes of the same tests and stores it as
# golden vectors, runs compute-sanitizer where it is installed, measures (bench), runs PyTorch + PEFT
# on the same work where they are installed, and writes one report.
#
#   tools/gpu-check.sh [--build DIR] [--report FILE] [--store DIR]
#   --build DIR           of the build (default: build)
#   --report FILE         default: DIR/gpu-report.md
#   --store DIR           of golden vectors (default: tests/golden/gpu)
#   --model NAME          of bench step and peers (default: Llama-3-8B, random weights)
#   --device-library DIR  takes libcuda.so.1 from DIR instead of the machine's: DIR = build/testdev
#                         runs the whole flow on the test device, at tiny sizes
#   --tests REGEX         only these device tests
#   --no-build            what is built already;  --no-bench: no measurements, no budgets
#
# Exit 0: all is well; 1: something failed, see the report; 2: no GPU, or wrong usage.
set -u
cd "$(dirname "$0")/.." || exit 2
build=build
report=
store=tests/golden/gpu
model=Llama-3-8B
library=
tests=.
make=yes
bench=yes
while [ $# -gt 0 ]; do
    case $1 in
    --no-build | --no-bench)
        [ "$1" = --no-bench ] || make=no
        [ "$1" = --no-build ] || bench=no
        shift
        continue
        ;;
    --build | --report | --store | --model | --device-library | --tests)
        [ $# -gt 1 ] || set -- --help
        ;;
    esac
    case $1 in
    --build) build=$2 ;;
    --report) report=$2 ;;
    --store) store=$2 ;;
    --model) model=$2 ;;
    --device-library) library=$(cd "$2" && pwd) || exit 2 ;;
    --tests) tests=$2 ;;
    *)
        sed -n 's/^# \{0,1\}//; 2,/^$/p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
report=${report:-$build/gpu-report.md}
began=$(date +%s)

say() {
    echo "== $* ($(($(date +%s) - began)) s)"
}
# Commands that see the device: the machine's, or the one that stands in for it.
on_device() {
    if [ -n "$library" ]; then
        LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@"
    else
        "$@"
    fi
}

# ---- is there a GPU? ----------------------------------------------------------------------------
# Asked of the driver itself, before anything is built.
device=$(on_device python3 - 2>&1 <<'PYTHON'
import ctypes
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    raise SystemExit(f"no driver: {error}")
count, name = ctypes.c_int(0), ctypes.create_string_buffer(128)
code = cuda.cuInit(0)
if code or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
    raise SystemExit(f"a driver, but no device (cuInit says {code})")
cuda.cuDeviceGetName(name, 128, 0)
print(name.value.decode())
PYTHON
) || {
    echo "gpu-check: no GPU here, nothing was checked: ${device:-python3 did not run}" >&2
    exit 2
}
say "on $device"

failed=0
part() { # title; then its text comes from stdin
    printf '\n## %s\n\n' "$1" >>"$report"
    cat >>"$report"
}
code() {
    # shellcheck disable=SC2016  # Markdown
    printf '```\n%s\n```\n' "$(cat)"
}
fail() {
    failed=$((failed + 1))
    echo "failed: $*"
    echo "- FAILED: $*" >>"$report.failed"
}

rm -rf "$build/gpu-check" "$report.failed"
mkdir -p "$build/gpu-check" "$(dirname "$report")"
work=$(cd "$build/gpu-check" && pwd)
mkdir "$work/gpu" "$work/testdev"
printf '# graft on %s\n\n%s, %s\n' "$device" "$(git describe --always --dirty 2>/dev/null)" \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$report"

# ---- build --------------------------------------------------------------------------------------
if [ "$make" = yes ]; then
    say "build"
    tools/setup.sh build test budgets || exit 1
    { [ -f "$build/CMakeCache.txt" ] || cmake -B "$build" -G Ninja -DGRAFT_WERROR=ON; } &&
        cmake --build "$build" -j "$(nproc)" || {
        echo "gpu-check: the build failed"
        exit 1
    }
fi >"$work/build.log" 2>&1 || {
    tail -n 50 "$work/build.log"
    exit 1
}
{
    on_device "$build/bin/graft" info --device 2>&1
    [ -n "$library" ] || nvidia-smi 2>&1
} | code | part "Machine"

# ---- tests on the GPU, and the same on the test device -----------------------------------------
say "tests on the device"
GRAFT_REQUIRE_GPU=1 GRAFT_TEST_DEVICE=cuda GRAFT_DEVICE_DUMP=$work/gpu on_device \
    ctest --test-dir "$build" -L device -R "($tests).*_gpu\$" -j 1 -V >"$work/tests.log" 2>&1 </dev/null ||
    fail "tests on the device, see $work/tests.log"
sed -i 's/\x1b\[[0-9;]*m//g' "$work/tests.log"
awk -f tools/count.awk "$work/tests.log" >"$work/count.txt"
{
    # shellcheck disable=SC2046  # three numbers
    set -- $(tail -n 1 "$work/count.txt")
    echo "$1 passed, $2 failed, $3 skipped (GRAFT_REQUIRE_GPU=1)"
    echo
    sed '$d' "$work/count.txt" | code
} | part "Tests on the device"

say "the same tests on the test device"
GRAFT_DEVICE_DUMP=$work/testdev ctest --test-dir "$build" -L device -R "($tests).*_1\$" \
    -j "$(nproc)" >"$work/testdev.log" 2>&1 </dev/null ||
    fail "tests on the test device, see $work/testdev.log"
slug=$(echo "$device" | tr -c 'A-Za-z0-9\n' '-' | tr 'A-Z' 'a-z')
python3 tools/dumps.py "$work/gpu" "$work/testdev" --store "$store/$slug" >"$work/dumps.txt" 2>&1 ||
    fail "the test device and the GPU differ, see $work/dumps.txt"
code <"$work/dumps.txt" | part "Test device against GPU"

# ---- compute-sanitizer ----------------------------------------------------------------------------
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -n "$sanitizer" ] && [ -z "$library" ]; then
    say "compute-sanitizer"
    for tool in memcheck racecheck synccheck; do
        "$sanitizer" --tool "$tool" --error-exitcode 9 "$build/bin/bench" kernels --device cuda \
            --shape tiny --seconds 0.001 >"$work/$tool.log" 2>&1 ||
            fail "compute-sanitizer --tool $tool, see $work/$tool.log"
        tail -n 1 "$work/$tool.log" >>"$work/sanitizer.txt"
    done
    code <"$work/sanitizer.txt" | part "compute-sanitizer"
else
    why="it is not installed"
    [ -z "$library" ] || why="the test device checks as much itself"
    echo "Not run: $why." | part "compute-sanitizer"
fi

# ---- measurements ---------------------------------------------------------------------------------
sizes=
step="--model $model --tokens 4096"
if [ -n "$library" ]; then
    sizes="--shape tiny --seconds 0.001"
    step="--model tests/golden/cases/llama-gqa/model --tokens 48 --steps 2 --rank 4"
fi
measure() { # title, command of bench, options: a table in the report, JSON lines beside it
    title=$1
    shift
    say "bench $*"
    on_device "$build/bin/bench" "$@" --device cuda --json >"$work/$1.json" 2>"$work/$1.log" ||
        fail "bench $1, see $work/$1.log"
    {
        python3 tools/bench-table.py "$work/$1.json"
        [ ! -s "$work/$1.log" ] || code <"$work/$1.log"
    } | part "$title"
}
# shellcheck disable=SC2086  # words
[ "$bench" = no ] || {
    measure "Roofline" roofline $sizes
    measure "Kernels" kernels $sizes
    measure "Steps, and PyTorch + PEFT on the same work" peers $step
    measure "Predicted" model --tokens 4096
    python3 tools/budgets.py --check --build "$build" >"$work/budgets.txt" 2>&1
    [ $? != 1 ] || fail "static budgets, see $work/budgets.txt"
    tail -n 20 "$work/budgets.txt" | code | part "Static budgets"
}

if [ "$failed" != 0 ]; then
    part "Failures" <"$report.failed"
    rm -f "$report.failed"
    say "$failed failures; report: $report"
    exit 1
fi
say "all is well; report: $report"
