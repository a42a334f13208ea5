#!/bin/sh
# on-test-device.sh - runs a command with the test device in place of a GPU.
set -eu
usage() {
    cat <<'EOF'
usage: tools/on-test-device.sh COMMAND [ARGUMENT ...]
  e.g. tools/on-test-device.sh build/bin/graft train --device cuda ...

Runs COMMAND with stand-ins for libcuda.so.1, libcublasLt and libnccl in front of the real ones:
kernels are executed from their PTX by a virtual machine on the CPU, with every memory access
checked. tests/ptxvm/README.md says what it sees and what it does not.

environment:
  GRAFT_BUILD=DIR     the build folder whose testdev/ is used (default: build)
  PTXVM_CHECK=bounds  only bounds, alignment and lifetime (full: races, initialisation too)
  PTXVM_STRESS=1      warps that diverged stay apart as long as the rules allow
  PTXVM_SEED=N        of every order that is not defined: blocks, warps, streams (default 1)
  PTXVM_ARCH=80|90    which PTX runs, and whose limits hold (default 80)
  PTXVM_DEVICES=N     number of devices (default 1)
  PTXVM_MEMORY=BYTES  memory of each (default 4 GiB)
  PTXVM_SMEM=BYTES    shared memory of a block, less than the architecture's (sm_89: 101376)
  PTXVM_REPORT=FILE   appends a JSON line per kernel: launches, instructions, bank conflicts, sectors
EOF
}
case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
'')
    usage >&2
    exit 2
    ;;
esac
build=${GRAFT_BUILD:-$(dirname "$0")/../build}
if [ ! -e "$build/testdev/libcuda.so.1" ]; then
    echo "on-test-device.sh: there is no $build/testdev/libcuda.so.1: build the target" \
        "ptxvm_standins (it needs nvcc and a C++ compiler), or set GRAFT_BUILD" >&2
    exit 2
fi
testdev=$(cd "$build/testdev" && pwd)
LD_LIBRARY_PATH=$testdev${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$@"
