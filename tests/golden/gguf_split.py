"""Makes gguf_split.seed, for tests/fuzz/fuzz_gguf_split.c: the length of the first file as u32, then
two files of a model as gguf-py splits it.   python gguf_split.py   (gguf 0.19)"""
import glob
import os
import struct
import tempfile

import gguf
import numpy as np

with tempfile.TemporaryDirectory() as folder:
    w = gguf.GGUFWriter(folder + "/m.gguf", "llama", split_max_tensors=1)
    w.add_tensor("a", np.arange(4, dtype=np.float32))
    w.add_tensor("b", np.arange(6, dtype=np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    parts = [open(p, "rb").read() for p in sorted(glob.glob(folder + "/m-*.gguf"))]
    assert len(parts) == 2 and os.path.exists(folder + "/m-00001-of-00002.gguf")
    open("gguf_split.seed", "wb").write(struct.pack("<I", len(parts[0])) + b"".join(parts))
