#!/bin/sh
# mirror.sh - every kernels/x.c and host/a/x.c has tests/kernels/test_x.c or tests/host/a/test_x.c
# (x_y.c may share test_x.c; the parts in host/a/x/ may share host/a's test_x.c), or stands in tools/mirror.except with a reason ("path: reason"). A line
# there that is no longer needed is an error too. Exit 1 if something is off.
set -eu
cd "$(dirname "$0")/.."
bad=0
for source in $(find kernels host -name '*.c' | sort); do
    name=$(basename "$source" .c)
    test=tests/$(dirname "$source")/test_$name.c
    while [ ! -e "$test" ] && [ "$name" != "${name%_*}" ]; do
        name=${name%_*}
        test=tests/$(dirname "$source")/test_$name.c
    done
    [ -e "$test" ] || test=tests/$(dirname "$(dirname "$source")")/test_$(basename "$(dirname "$source")").c
    reason=$(awk -v want="$source:" '$1 == want { $1 = ""; print }' tools/mirror.except)
    if [ ! -e "$test" ] && [ -z "$reason" ]; then
        echo "$source: has no test, and no reason in tools/mirror.except"
        bad=1
    elif [ -e "$test" ] && [ -n "$reason" ]; then
        echo "$source: has a test; take it out of tools/mirror.except"
        bad=1
    fi
done
# shellcheck disable=SC2013  # paths have no blanks
for path in $(sed -n 's/^\([^# ][^:]*\):.*/\1/p' tools/mirror.except); do
    [ -e "$path" ] || {
        echo "tools/mirror.except: there is no $path"
        bad=1
    }
done
[ "$bad" = 0 ] && echo "mirror: every source has its test or a reason"
exit "$bad"
