"""Makes blocks.bin: random blocks of every quantised type and their values by gguf-py 0.19, and
quantised.bin: numbers and their blocks by gguf-py's quantisers.
blocks.bin, for each type: a name of 8 bytes, then ROWS rows of 64 (or 256) elements as stored, then
as little-endian f32. quantised.bin, for each type: a name, 32 rows of 64 f32, then the blocks.
Run with a Python that has `gguf` and `numpy`:  python make.py"""
import numpy as np, gguf

ROWS = 6
SPECIAL = np.array([0x7E00, 0x7C00, 0xFC00, 0x8000, 0x0001, 0x7BFF], np.uint16)  # NaN, Inf, -Inf, ...
HALVES = {  # where a block has its scale and minimum
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
}
rng = np.random.default_rng(1)
with open("blocks.bin", "wb") as out:
    for name, halves in HALVES.items():
        t = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[t]
        width = max(64, block)
        raw = rng.integers(0, 256, (2 * ROWS, width // block, size), dtype=np.uint8)
        for at in halves:
            h = rng.normal(0, 1, raw.shape[:2]).astype(np.float16)
            h[0, 0] = np.float16(6e-8)  # a denormal
            h[ROWS:, 0] = SPECIAL.view(np.float16)  # the last rows: what is not a number, or huge
            raw[:, :, at : at + 2] = h[..., None].view(np.uint8)
        raw = raw.reshape(2 * ROWS, -1)
        with np.errstate(all="ignore"):
            want = gguf.dequantize(raw, t).astype("<f4")
        assert want.shape == (2 * ROWS, width)
        out.write(name.lower().encode().ljust(8, b"\0") + raw.tobytes() + want.tobytes())

x = rng.normal(0, 1, (32, 64)).astype(np.float32)
x[:4] *= 1e-3
x[4:8] *= 1e4
x[8] = 0
x[9] = -0.0
x[10] = 3.25  # constant
x[11] = -3.25
x[12] *= 1e-9  # the scale is a denormal or 0 as f16
x[13] *= 1e-30
x[14] = rng.integers(-127, 128, 64)  # exact
x[15] = np.where(np.arange(64) % 2, 8, -8)  # two of the largest
x[16] = (np.arange(64) - 32) / 2  # ties
x[17] = 1e9  # the scale is Inf as f16
x[18, :] = 0
x[18, 5] = 1e-3
with open("quantised.bin", "wb") as out, np.errstate(all="ignore"):
    for name in ("Q8_0", "Q4_0"):
        raw = gguf.quantize(x, gguf.GGMLQuantizationType[name])
        out.write(name.lower().encode().ljust(8, b"\0") + x.astype("<f4").tobytes() + raw.tobytes())

# q4_k.bin: 16 rows of 256 f32 and llama.cpp's own blocks of them (llama-cpp-python 0.3.36), whose
# error is the measure for graft's: normal, heavy tails, one sign, an outlier, few values.
import ctypes, llama_cpp  # noqa: E402

y = rng.normal(0, 0.05, (16, 256)).astype(np.float32)
y[4:6] = rng.standard_t(3, (2, 256)) * 0.02
y[6:8] = np.abs(y[6:8])
y[8:10] = -np.abs(y[8:10]) - 0.1
y[10:12, 77] = 2.5
y[12] = rng.integers(-7, 8, 256) / 64
y[13] = rng.uniform(-1, 1, 256)
y[14, 128:] *= 1e-3
y[15] += 0.3
lib = ctypes.CDLL(llama_cpp.llama_cpp._lib._name).ggml_quantize_chunk
lib.restype = ctypes.c_size_t
raw = np.zeros((16, 144), np.uint8)
n = lib(12, y.ctypes.data_as(ctypes.c_void_p), raw.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0), ctypes.c_int64(16), ctypes.c_int64(256), None)
assert n == raw.nbytes
with open("q4_k.bin", "wb") as out:
    out.write(y.astype("<f4").tobytes() + raw.tobytes())
