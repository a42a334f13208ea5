#!/bin/sh
# on_test_device_test.sh BUILD - tools/on-test-device.sh: its answers, and what a command sees.
set -eu
build=$1
script=$(dirname "$0")/../../tools/on-test-device.sh
fail() {
    echo "on-test-device.sh: $1"
    exit 1
}
"$script" --help | grep -q PTXVM_SEED || fail "--help does not name the environment"
code=0
"$script" 2>/dev/null || code=$?
[ "$code" = 2 ] || fail "without a command it answers $code"
code=0
said=$(GRAFT_BUILD=/nowhere "$script" true 2>&1) || code=$?
[ "$code" = 2 ] || fail "without a build it answers $code"
case $said in
*ptxvm_standins*) ;;
*) fail "without a build it does not say what to build: $said" ;;
esac
# shellcheck disable=SC2016  # expanded by the command
path=$(GRAFT_BUILD=$build LD_LIBRARY_PATH=/somewhere "$script" sh -c 'echo "$LD_LIBRARY_PATH"')
[ "$path" = "$(cd "$build/testdev" && pwd):/somewhere" ] || fail "LD_LIBRARY_PATH is $path"
code=0
GRAFT_BUILD=$build "$script" sh -c 'exit 7' || code=$?
[ "$code" = 7 ] || fail "a command's status 7 became $code"
if [ -x "$build/bin/graft" ]; then
    GRAFT_BUILD=$build "$script" "$build/bin/graft" info --device | grep -q "test device" ||
        fail "graft does not find the test device"
fi
echo "on-test-device.sh: in order"
