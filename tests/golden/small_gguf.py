"""Makes small.gguf, the golden file of tests/host/format/test_gguf.c, with gguf-py 0.19.0: one value of
each type and tensors of several types.

    python tests/golden/small_gguf.py tests/golden/small.gguf
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

w = GGUFWriter(sys.argv[1], "llama")
w.add_uint8("t.u8", 200)
w.add_int8("t.i8", -100)
w.add_uint16("t.u16", 60000)
w.add_int16("t.i16", -30000)
w.add_uint32("t.u32", 4000000000)
w.add_int32("t.i32", -2000000000)
w.add_uint64("t.u64", 2**64 - 1)
w.add_int64("t.i64", -(2**62))
w.add_float32("t.f32", 0.1)
w.add_float64("t.f64", 0.1)
w.add_bool("t.yes", True)
w.add_bool("t.no", False)
w.add_string("t.string", "h\u00e9llo")
w.add_array("t.strings", ["", "a", "\u00e9\u00e9", "<s>"])
w.add_array("t.ints", [1, -2, 3])
w.add_array("t.floats", [0.5, 1.5])
w.add_tensor("f32", np.arange(6, dtype=np.float32).reshape(2, 3))
w.add_tensor("f16", np.arange(5, dtype=np.float16))
w.add_tensor("cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
w.add_tensor("q4_0", np.arange(36, dtype=np.uint8).reshape(1, 36), raw_dtype=GGMLQuantizationType.Q4_0)
w.add_tensor("q6_k", np.arange(210, dtype=np.uint8).reshape(1, 210), raw_dtype=GGMLQuantizationType.Q6_K)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
