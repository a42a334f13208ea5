"""Makes seed.safetensors, for tests/fuzz/fuzz_bnb.c: one small nested NF4 weight and one of LLM.int8,
as bitsandbytes lays them out.   python seed.py   (bitsandbytes 0.50)"""
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file

w = torch.arange(128, dtype=torch.float32).reshape(2, 64).sin()
codes, state = F.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
tensors = {"a.weight": codes, **{"a.weight." + k: v for k, v in state.as_dict(packed=True).items()}}
tensors.update({"b.weight": (w * 127).to(torch.int8), "b.SCB": torch.ones(2), "b.weight_format": torch.zeros((), dtype=torch.uint8)})
save_file(tensors, "seed.safetensors")
