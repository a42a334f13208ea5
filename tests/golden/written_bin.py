"""Checks written.bin, which tests/host/format/test_torch_write.c writes byte for byte: that
torch.load(weights_only=True) takes it, also mapped, and what it holds; that every CRC is right.

    python tests/golden/written_bin.py tests/golden/written.bin
"""

import sys
import zipfile

import torch

TENSORS = [("a.lora_A.weight", torch.float32, (2, 3)), ("h", torch.float16, (300,)),
           ("b\u00e9", torch.bfloat16, (2, 1, 3)), ("long", torch.int64, (2, 2)),
           ("int", torch.int32, (1,)), ("byte", torch.uint8, (300,)), ("none", torch.float32, (0, 70000)),
           ("scalar", torch.float32, ()), ("last", torch.float32, (2,))]

for mmap in (False, True):
    found = torch.load(sys.argv[1], weights_only=True, mmap=mmap)
    assert [(k, v.dtype, tuple(v.shape)) for k, v in found.items()] == TENSORS, found.keys()
    for i, (name, dtype, shape) in enumerate(TENSORS):
        value = found[name]
        size = value.element_size() * value.numel()
        want = torch.tensor([(7 * i + j) % 64 for j in range(size)], dtype=torch.uint8)
        assert value.is_contiguous() and torch.equal(value.reshape(-1).view(torch.uint8), want), name
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None and z.read("written/version") == b"3\n"
print("as it should be")
