#!/bin/sh
# docs.sh [--check] [GRAFT] - writes docs/options.md from the program's option table (GRAFT: its path,
# build/bin/graft by default). --check: says whether the file is what the program would write.
set -eu
check=no
[ "${1:-}" != --check ] || {
    check=yes
    shift
}
graft=${1:-$(dirname "$0")/../build/bin/graft}
graft=$(cd "$(dirname "$graft")" && pwd)/$(basename "$graft")
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
    cat <<'END'
# Options

Written by `tools/docs.sh` from the table that parses them. Names may be written with dashes or underscores; `--config FILE.json` holds the same names with
underscores, and the command line wins. `graft COMMAND --help` prints the same, `graft help COMMAND --as man` as a man page.

END
    "$graft" help --as markdown
} >"$new"
if [ "$check" = no ]; then
    cp "$new" docs/options.md
    chmod 644 docs/options.md
elif ! cmp -s "$new" docs/options.md; then
    diff "$new" docs/options.md | head -n 20
    echo "docs/options.md is not what the program says: run tools/docs.sh"
    exit 1
fi
