#!/bin/sh
# style.sh - format, size of files and functions, and no printing or exiting below host/cli.
# Exit 1 if something is off, 77 if only the formatter is missing.
# shellcheck disable=SC2086,SC2046  # lists of files, one word each
set -eu
cd "$(dirname "$0")/.."
bad=0
product=$(find include kernels host $(ls -d bench 2>/dev/null) -name '*.[ch]' | sort)
tests=$(find tests -name '*.[ch]' | sort)

# Tables are data; their length says nothing about how well code reads.
awk '
FNR == 1 { if (NR > 1) finish(); name = FILENAME; start = 0; generated = 0; longest = 500 }
tolower($0) ~ /(generated|written) by tools\// { generated = 1 }
{ lines = FNR }
# In this style a function opens and closes with a brace in the first column, after a line that is
# no struct, enum, union or initialiser.
/^\{/ { start = FNR; head = previous }
/^\}/ {
    if (start && FNR - start + 1 > 60 + 2) { # 60 lines and the two braces
        print FILENAME ":" start ": a function of " FNR - start - 1 " lines (60 at most)"
        bad = 1
    }
    start = 0
}
{ previous = $0 }
function finish() {
    if (lines > longest && !generated) {
        print name ": " lines " lines (500 at most)"
        bad = 1
    }
}
END { finish(); exit bad }
' $product || bad=1

# Below host/cli nothing prints and nothing exits.
quiet=$(find include kernels host -name '*.[ch]' ! -path 'host/cli/*' | sort)
awk '
/(^|[^a-zA-Z0-9_."])(printf|puts|putchar|perror|exit|_exit|abort|vprintf)[ ]*\(/ && !/^[ \t]*(\/\*|\*|\/\/)/ ||
/(^|[^a-zA-Z0-9_."])(stderr|stdout)([^a-zA-Z0-9_]|$)/ && !/^[ \t]*(\/\*|\*|\/\/)/ {
    if ($0 ~ /__attribute__/) next
    print FILENAME ":" FNR ": prints or exits below host/cli:" $0
    bad = 1
}
END { exit bad }
' $quiet || bad=1

if grep -nE '[	 ]+$' $product $tests; then
    echo "style: blanks at the end of the lines above"
    bad=1
fi

formatter=$(command -v clang-format-14 || command -v clang-format || true)
[ "$bad" = 0 ] || exit 1
if [ -z "$formatter" ]; then
    echo "skipped: no clang-format (tools/setup.sh test installs it)"
    exit 77
fi
case $("$formatter" --version) in
*"version 14."*) ;;
*)
    echo "skipped: the format is that of clang-format 14, here is $("$formatter" --version)"
    exit 77
    ;;
esac
# shellcheck disable=SC2086  # one word a file
"$formatter" --dry-run -Werror $product $tests || {
    echo "style: run clang-format -i on the files above"
    exit 1
}
echo "style: format, sizes and silence are in order"
