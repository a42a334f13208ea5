"""Makes small.safetensors, the golden file of tests/host/format/test_safetensors.c, with the official
writer (safetensors 0.8.0). Tensor i of n bytes holds the bytes (i + k) % 251, k = 0 .. n - 1.

    python tests/golden/small_safetensors.py tests/golden/small.safetensors
"""

import sys

import numpy as np
from safetensors import TensorSpec, serialize

# In the order in which the test declares them. The names sort differently by bytes, by dtype and as
# written; two of them need JSON escapes, one is not ASCII.
TENSORS = [
    ("model.layers.10.weight", "float32", [2, 3]),
    ("model.layers.9.weight", "float32", [3, 2]),
    ("b", "bfloat16", [5]),
    ("a", "float16", [1, 1, 3]),
    ("ids", "int64", [2]),
    ("counts", "int32", [3]),
    ("bytes", "uint8", [7]),
    ("scalar", "float32", []),
    ("empty", "float32", [0, 4]),
    ('quote " and \\ and \n', "uint8", [1]),
    ("h\u00e9llo \U0001f600", "float32", [1]),
]
SIZE = {"float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "int32": 4, "uint8": 1}

tensors, alive = {}, []
for i, (name, dtype, shape) in enumerate(TENSORS):
    count = SIZE[dtype] * int(np.prod(shape))
    data = np.array([(i + k) % 251 for k in range(count)], dtype=np.uint8)
    alive.append(data)
    tensors[name] = TensorSpec(dtype=dtype, shape=shape, data_ptr=data.ctypes.data, data_len=count)
open(sys.argv[1], "wb").write(serialize(tensors, metadata={"format": "pt"}))
