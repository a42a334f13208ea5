"""Makes blocks.bin: random blocks of every quantised type and their values by gguf-py 0.x.
For each type: a name of 8 bytes, then ROWS rows of 64 elements as stored, then as little-endian f32.
Run with a Python that has `gguf` and `numpy`:  python make.py"""
import numpy as np, gguf

ROWS = 6
out = open("blocks.bin", "wb")
rng = np.random.default_rng(1)
for name in ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
    t = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[t]
    raw = rng.integers(0, 256, (ROWS, 64 // block, size), dtype=np.uint8)
    for field in range(2 if name in ("Q4_1", "Q5_1") else 1):  # scale and minimum: finite f16
        h = rng.normal(0, 1, (ROWS, 64 // block)).astype(np.float16)
        h[0, 0] = np.float16(6e-8)  # a denormal
        raw[:, :, 2 * field : 2 * field + 2] = h[..., None].view(np.uint8)
    raw = raw.reshape(ROWS, -1)
    want = gguf.dequantize(raw, t).astype("<f4")
    assert want.shape == (ROWS, 64)
    out.write(name.lower().encode().ljust(8, b"\0") + raw.tobytes() + want.tobytes())
