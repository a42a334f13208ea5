"""Makes written.ggla, the file that tests/host/format/test_ggla.c must write byte for byte: the
fields of llama.cpp's old adapter file, one after the other (magic, version, r, alpha; then for each
matrix: dimensions, length of the name, type, the contiguous dimension, the other, the name, zeros
up to a multiple of 32 bytes of the file, f32 data).

    python tests/golden/written_ggla.py tests/golden/written.ggla
"""

import struct
import sys

MATRICES = [("blk.0.attn_q.weight.loraA", 5, 3), ("blk.0.attn_q.weight.loraB", 4, 3),
            ("blk.11.ffn_down.weight.loraA", 1, 1)]  # name, rows, columns

out = bytearray(b"algg" + struct.pack("<3i", 1, 3, -7))
value = 0.0
for name, rows, cols in MATRICES:
    out += struct.pack("<5i", 2, len(name), 0, cols, rows) + name.encode()
    out += bytes(-len(out) % 32)
    for _ in range(rows * cols):
        out += struct.pack("<f", value)
        value += 0.5
open(sys.argv[1], "wb").write(out)
