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

# A rank that goes wrong: mpirun ends the other within 10 s. Which one it was is said by mpirun, or by
# the rank itself where it can: Open MPI 4 sometimes loses its own message about MPI_Abort.
for how in fails:rank.1.fails exits:',1\]' dies:process.rank.1; do
    # shellcheck disable=SC2086
    if out=$(timeout 10 mpirun $options "$1" "${how%%:*}" 2>&1) || [ $? = 124 ]; then
        echo "${how%%:*}: not noticed within 10 s, or taken for success: $out"
        exit 1
    fi
    echo "$out" | grep -q "${how#*:}" || {
        echo "${how%%:*}: rank 1 is not named: $out"
        exit 1
    }
    echo "${how%%:*}: rank 1 is named"
done
