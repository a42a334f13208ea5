#!/bin/sh
# layers.sh - checks that includes point down only, and that CUDA is visible in kernels/ and
# host/comm/ only. Prints each line that breaks a rule; exit 1 if there is one.
# shellcheck disable=SC2046  # one word a file
set -eu
cd "$(dirname "$0")/.."

# folder: the include roots it may name. <system.h> is free everywhere but in include/, which sees
# libc only, and for CUDA.
awk '
BEGIN {
    may["include"] = "graft/"
    may["kernels"] = "graft/ kernels/ cuda/ ./"
    may["host/base"] = "graft/ base/"
    may["host/format"] = may["host/base"] " format/"
    may["host/text"] = may["host/format"] " text/"
    may["host/model"] = may["host/format"] " model/"
    may["host/comm"] = may["host/base"] " comm/"
    may["host/infer"] = may["host/model"] " text/ infer/"
    may["host/train"] = may["host/infer"] " comm/ train/"
    may["host/cli"] = may["host/train"] " cli/"
    libc = " stdbool.h stddef.h stdint.h limits.h float.h math.h string.h "
}
FNR == 1 {
    folder = FILENAME
    sub(/\/[^\/]*$/, "", folder)
    if (folder ~ /^include/) folder = "include"
    if (folder ~ /^kernels/) folder = "kernels"
    sub(/^host\/text\/.*/, "host/text", folder) # its parts are of its layer
    if (!(folder in may)) {
        print FILENAME ": the folder " folder " has no layer (tools/layers.sh lists them)"
        bad = 1
    }
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    n = split(may[folder], allowed, " ")
    ok = 0
    for (i = 1; i <= n; i++) {
        if (allowed[i] == "./" ? part[2] !~ /\// : index(part[2], allowed[i]) == 1) ok = 1
    }
    if (!ok) { print FILENAME ":" FNR ": " folder " may not include " part[2]; bad = 1 }
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    name = $0
    sub(/^[^<]*</, "", name)
    sub(/>.*/, "", name)
    if (folder == "include" && index(libc, " " name " ") == 0) {
        print FILENAME ":" FNR ": include/ sees only libc headers, not " name
        bad = 1
    }
    if (name ~ /^mpi\.h$/ && folder != "host/comm") {
        print FILENAME ":" FNR ": MPI is visible in host/comm only"
        bad = 1
    }
}
folder != "kernels" && folder != "host/comm" && folder != "include" {
    # cuda.h and friends, cuFunction, cudaThing, ncclThing, CUdeviceptr
    if ($0 ~ /<(cuda|nccl|cublas|nvrtc)[A-Za-z_]*\.h>|(^|[^A-Za-z_])(cu(da)?[A-Z][a-z]+[A-Za-z]*\(|nccl[A-Z]|cublas[A-Z]|CUdevice|CUstream|CUmodule)/) {
        print FILENAME ":" FNR ": CUDA is visible in kernels/ and host/comm/ only"
        bad = 1
    }
}
END { exit bad }
' $(find include kernels host -name '*.[ch]' -o -name '*.cu' -o -name '*.def' | sort)
echo "layers: every include points down"
