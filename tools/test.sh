#!/bin/sh
# test.sh [--quick|--long] - installs what the tests need, builds with warnings as errors, runs every test;
# then all of it again under AddressSanitizer and UndefinedBehaviorSanitizer, and builds with clang to
# fuzz every parser for some seconds.
# --quick stops after the first round. --long then goes on with what takes minutes: every kernel on the
# test device with eight more seeds and schedules on either PTX, and a real model's first steps.
# Running it again only does what changed.
#
# The last line is "N passed, N failed[, N skipped]"; exit 1 if anything failed.
#   GRAFT_SHARED   folder of reference results (default: ../shared); tests skip without it
#   GRAFT_MODELS   where the 98 MB model that some tests use is kept (default: build/models)
set -u
cd "$(dirname "$0")/.." || exit 1
quick=no
long=no
case ${1:-} in
"") ;;
--quick) quick=yes ;;
--long) long=yes ;;
*)
    echo "usage: tools/test.sh [--quick|--long]" >&2
    exit 2
    ;;
esac

passed=0
failed=0
skipped=0
began=$(date +%s)
say() {
    echo "== $* ($(($(date +%s) - began)) s)"
}
finish() {
    line="$passed passed, $failed failed"
    [ "$skipped" = 0 ] || line="$line, $skipped skipped"
    echo "$line"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}
# A step that is not a test: without it there is nothing to count.
must() {
    "$@" || {
        echo "failed: $*"
        failed=$((failed + 1))
        finish
    }
}

configure() { # folder, options of cmake
    folder=$1
    shift
    [ -f "$folder/CMakeCache.txt" ] || set -- -G Ninja "$@"
    [ -z "${GRAFT_SHARED:-}" ] || set -- "-DGRAFT_SHARED=$GRAFT_SHARED" "$@"
    mkdir -p "$folder"
    cmake -B "$folder" -DGRAFT_WERROR=ON "$@" >"$folder/configure.log" 2>&1 || {
        cat "$folder/configure.log"
        return 1
    }
}
build() {
    cmake --build "$1" -j "$(nproc)" >"$1/build.log" 2>&1 || {
        grep -v '^\[' "$1/build.log" | tail -n 100
        return 1
    }
}

# Runs the tests of a folder, shows what failed or was skipped, and adds to the counts. Criterion's
# tests are counted one by one, a script is one test, and so is a sanitizer's report.
run_tests() { # folder, options of ctest
    folder=$1
    log=$folder/tests.log
    shift
    ctest --test-dir "$folder" -j "$(nproc)" -V "$@" >"$log" 2>&1 </dev/null
    # Colours would hide the words that are looked for.
    sed -i 's/\x1b\[[0-9;]*m//g' "$log"
    awk -f tools/count.awk "$log" >"$folder/count.txt"
    sed '$d' "$folder/count.txt"
    # shellcheck disable=SC2046  # three numbers
    set -- "$folder" $(tail -n 1 "$folder/count.txt")
    passed=$((passed + $2))
    failed=$((failed + $3))
    skipped=$((skipped + $4))
    echo "$2 passed, $3 failed, $4 skipped; all output: $log"
}

say "packages"
must tools/setup.sh build test
tools/setup.sh budgets || echo "without cuobjdump: the kernels' static budgets are skipped"
tools/setup.sh notebook || echo "without Jupyter: the notebook is skipped"
if [ -z "${GRAFT_SMOLLM2:-}" ]; then
    tools/setup.sh model && GRAFT_SMOLLM2=$(tools/model.sh) && export GRAFT_SMOLLM2 ||
        echo "without the model: the tests that use it are skipped"
fi

say "release build"
must configure build -DCMAKE_BUILD_TYPE=Release
must build build
say "tests"
run_tests build -LE long
[ "$quick" = no ] || finish
if [ "$long" = yes ]; then
    say "long tests"
    run_tests build -L long
fi

say "build with address and undefined-behaviour sanitizers"
# gcc's tracking of variables takes minutes a file here, and nobody steps through this build.
must configure build-asan -DCMAKE_BUILD_TYPE=Asan \
    -DCMAKE_C_FLAGS=-fno-var-tracking
must build build-asan
say "tests under sanitizers"
export UBSAN_OPTIONS=print_stacktrace=1
run_tests build-asan -LE long

say "clang build, with sanitizers and coverage for the fuzz targets"
must configure build-clang -DCMAKE_BUILD_TYPE=Fuzz -DCMAKE_C_COMPILER=clang
must build build-clang
say "a few seconds of fuzzing for each parser"
run_tests build-clang -L fuzz
say "done"
finish
