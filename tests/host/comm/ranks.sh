#!/bin/sh
# ranks.sh PROGRAM - two ranks under mpirun. 77: skipped, since there is no mpirun.
set -eu
if ! command -v mpirun >/dev/null; then
    echo "skipped: no mpirun"
    exit 77
fi
# MPI unloads its plugins before the leak check, which can then not tell whose memory is left;
# comm.c allocates nothing. Errors other than leaks still count.
ASAN_OPTIONS=detect_leaks=0
export ASAN_OPTIONS
options="--oversubscribe -n 2"
[ "$(id -u)" = 0 ] && options="--allow-run-as-root $options"
# shellcheck disable=SC2086  # several words on purpose
out=$(mpirun $options "$1" 2>&1) || {
    echo "$out"
    exit 1
}
echo "$out"
[ "$(echo "$out" | grep -c 'is well')" = 2 ]
