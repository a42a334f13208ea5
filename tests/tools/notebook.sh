#!/bin/sh
# notebook.sh BUILD - executes tools/demo.ipynb with nbconvert on the real model, a few steps only,
# and looks at what came out: every cell ran, the curves are pictures, the files are there.
# 77: skipped, because Jupyter (tools/setup.sh notebook) or the model (tools/model.sh) is not here.
set -eu
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$root/build/tools/notebook"
python3 -c 'import nbconvert, ipykernel' 2>/dev/null || {
    echo "skipped: no Jupyter here (tools/setup.sh notebook)"
    exit 77
}
[ -f "${GRAFT_SMOLLM2:-}" ] || {
    echo "skipped: GRAFT_SMOLLM2 names no model (tools/model.sh)"
    exit 77
}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export GRAFT="$build/bin/graft" GRAFT_NOTEBOOK_OUT="$out/files" GRAFT_NOTEBOOK_STEPS=4 \
    IPYTHONDIR="$out/ipython" JUPYTER_CONFIG_DIR="$out/jupyter" JUPYTER_RUNTIME_DIR="$out/runtime"
cd "$root/tools"
python3 -m nbconvert --to notebook --execute --ExecutePreprocessor.timeout=540 \
    --output-dir "$out" --output done.ipynb demo.ipynb
python3 - "$out/done.ipynb" <<'END'
import json, sys
cells = [c for c in json.load(open(sys.argv[1]))["cells"] if c["cell_type"] == "code"]
outputs = [o for c in cells for o in c["outputs"]]
assert all(c["execution_count"] for c in cells), "a cell did not run"
assert not [o for o in outputs if o["output_type"] == "error"], "a cell failed"
pictures = [o for o in outputs if "image/svg+xml" in o.get("data", {})]
assert len(pictures) == 3, f"{len(pictures)} pictures"
assert all("<polyline points=" in "".join(p["data"]["image/svg+xml"]) for p in pictures)
print(f"notebook: {len(cells)} cells, {len(pictures)} pictures")
END
for file in adapter/adapter_model.safetensors adapter/run.json deploy/Modelfile merged/config.json \
    merged.gguf; do
    [ -s "$out/files/$file" ] || {
        echo "notebook: $file is missing"
        exit 1
    }
done
