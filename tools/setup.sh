#!/bin/sh
# setup.sh [build] [test] [model] [budgets] [notebook] - installs what is missing, with apt-get (through sudo
# unless root).
#   build   what `cmake -B build && cmake --build build` needs          (the default)
#   test    what the tests need besides
#   model   what fetching the demo's model needs
#   budgets what reads the kernels' machine code: two of NVIDIA's tools, with pip into build/tools
#   notebook what runs tools/demo.ipynb: Jupyter's nbconvert, with pip into build/tools/notebook
# Running it again does nothing. Says what it does.
set -eu

build="gcc libc6-dev cmake ninja-build pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libssl-dev
    libopenmpi-dev openmpi-bin"
test="g++ libcriterion-dev clang clang-format libclang-rt-dev"
python="python3 python3-pip ca-certificates"
model=$python
disassemblers=no
notebook=no

[ $# -gt 0 ] || set -- build
want=""
for part; do
    case $part in
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    model) want="$want $model" ;;
    budgets)
        want="$want $python"
        disassemblers=yes
        ;;
    notebook)
        want="$want $python"
        notebook=yes
        ;;
    *)
        echo "setup: unknown part \"$part\"; there are build, test, model, budgets and notebook" >&2
        exit 2
        ;;
    esac
done

# NVIDIA's wheels, which need no toolkit beside them.
fetch_disassemblers() {
    to=$(dirname "$0")/../build/tools/cuda
    if [ "$disassemblers" = no ] || [ -e "$to/complete" ]; then
        return 0
    fi
    echo "setup: fetching cuobjdump and nvdisasm (6 MB) into build/tools"
    python3 -m pip install -q --disable-pip-version-check --no-deps --upgrade --target "$to" \
        nvidia-cuda-cuobjdump==13.5.37 nvidia-cuda-nvdisasm==13.5.37 || {
        echo "setup: pip could not fetch nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm" >&2
        exit 1
    }
    touch "$to/complete"
}

# Jupyter without its browser pages; PYTHONPATH=build/tools/notebook finds it.
fetch_notebook() {
    to=$(dirname "$0")/../build/tools/notebook
    if [ "$notebook" = no ] || [ -e "$to/complete" ]; then
        return 0
    fi
    echo "setup: fetching nbconvert and ipykernel into build/tools/notebook"
    python3 -m pip install -q --disable-pip-version-check --upgrade --target "$to" \
        nbconvert==7.16.6 ipykernel==6.30.1 || {
        echo "setup: pip could not fetch nbconvert and ipykernel" >&2
        exit 1
    }
    touch "$to/complete"
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086  # on one line
    echo "setup: this is no Debian or Ubuntu; install what these packages hold:" $want >&2
    exit 1
fi
missing=""
for package in $want; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    fetch_disassemblers
    fetch_notebook
    echo "setup: nothing is missing for: $*"
    exit 0
fi

as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null || {
        echo "setup: not root, and no sudo; as root: apt-get install$missing" >&2
        exit 1
    }
fi
echo "setup: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    # shellcheck disable=SC2086  # as_root is empty or a word
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >"$log" 2>&1 </dev/null || {
        cat "$log" >&2
        echo "setup: apt-get $1 failed" >&2
        exit 1
    }
}
apt update
# A package of its own on Debian; elsewhere clang brings it.
case $missing in
*libclang-rt-dev*)
    apt-cache show libclang-rt-dev >/dev/null 2>&1 || missing=$(echo "$missing" | sed 's/ libclang-rt-dev//')
    ;;
esac
# shellcheck disable=SC2086  # one word a package
apt install -y --no-install-recommends $missing
fetch_disassemblers
fetch_notebook
echo "setup: done"
