#!/bin/sh
# setup.sh [build] [test] [model] - installs what is missing, with apt-get (through sudo unless root).
#   build   what `cmake -B build && cmake --build build` needs          (the default)
#   test    what the tests need besides
#   model   what fetching the demo's model needs
# Running it again does nothing. Says what it does.
set -eu

build="gcc libc6-dev cmake ninja-build pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libssl-dev
    libopenmpi-dev openmpi-bin"
test="libcriterion-dev clang clang-format libclang-rt-dev"
model="python3 python3-pip ca-certificates"

[ $# -gt 0 ] || set -- build
want=""
for part; do
    case $part in
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    model) want="$want $model" ;;
    *)
        echo "setup: unknown part \"$part\"; there are build, test and model" >&2
        exit 2
        ;;
    esac
done

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
echo "setup: done"
