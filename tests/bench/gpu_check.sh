#!/bin/sh
# gpu_check.sh BUILD - tools/gpu-check.sh says when there is no GPU, and goes its whole way on the test
# device.
set -eu
build=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
[ -e "$build/testdev/libcuda.so.1" ] || {
    echo "skipped: no test device in $build (it needs nvcc and a C++ compiler)"
    exit 77
}

if ! ldconfig -p 2>/dev/null | grep -q libcuda.so.1 && [ -z "${LD_LIBRARY_PATH:-}" ]; then
    code=0
    tools/gpu-check.sh --build "$build" --report "$out/none.md" >"$out/none.log" 2>&1 || code=$?
    [ "$code" = 2 ] && grep -q "no GPU here, nothing was checked" "$out/none.log" || {
        echo "without a GPU: exit $code, said:"
        cat "$out/none.log"
        exit 1
    }
    [ ! -e "$out/none.md" ] || {
        echo "without a GPU there is a report"
        exit 1
    }
fi

# The budgets of a build for few architectures, and its dumps, are its own business here.
tools/gpu-check.sh --build "$build" --no-build --no-bench --device-library "$build/testdev" \
    --tests kernels_cuda_glu --store "$out/golden" --report "$out/report.md" >"$out/log" 2>&1 || {
    cat "$out/log" "$out/report.md"
    exit 1
}
for heading in Machine "Tests on the device" "Test device against GPU" compute-sanitizer; do
    grep -q "^## $heading" "$out/report.md" || {
        echo "the report lacks \"$heading\""
        exit 1
    }
done
grep -q ", 0 out of bounds" "$out/report.md" && [ -n "$(ls "$out"/golden/*/*.txt)" ] || {
    echo "nothing was compared or stored:"
    cat "$out/report.md"
    exit 1
}

# A value that is off is found.
first=$(ls "$out"/golden/*/*.txt | head -n 1)
cp -r "$(dirname "$first")" "$out/spoiled"
sed -i 's/: [^ ]*/: 1e30/' "$out/spoiled/$(basename "$first")"
if python3 tools/dumps.py "$out/spoiled" "$(dirname "$first")" >"$out/dumps" 2>&1; then
    echo "a spoiled dump was not found"
    exit 1
fi
grep -q "times the bound" "$out/dumps"
echo "gpu-check: no GPU, the flow, and a value that is off"
