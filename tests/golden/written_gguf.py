"""Makes written.gguf, the file that tests/host/format/test_gguf_write.c must write byte for byte, with
gguf-py 0.19.0: one value of each type, tensors of several types and ranks, an alignment of its own.

    python tests/golden/written_gguf.py tests/golden/written.gguf
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

w = GGUFWriter(sys.argv[1], "llama")
w.add_custom_alignment(64)
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
w.add_key_value("t.string", "h\u00e9llo", GGUFValueType.STRING)
w.add_array("t.strings", ["\u20ac", "a", "\u00e9\u00e9", "<s>"])
w.add_array("t.ints", [1, -2, 3])
w.add_array("t.floats", [0.5, 1.5])
w.add_tensor("f32", np.arange(6, dtype=np.float32).reshape(2, 3))
w.add_tensor("f16", np.arange(5, dtype=np.float16))
w.add_tensor("cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
w.add_tensor("q4_0", np.arange(36, dtype=np.uint8).reshape(1, 36), raw_dtype=GGMLQuantizationType.Q4_0)
w.add_tensor("bf16", np.arange(64, dtype=np.uint8).reshape(4, 16), raw_dtype=GGMLQuantizationType.BF16)
w.add_tensor("q8_0", np.arange(68, dtype=np.uint8).reshape(2, 34), raw_dtype=GGMLQuantizationType.Q8_0)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
