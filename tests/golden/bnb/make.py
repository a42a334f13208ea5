"""Makes nf4/, nf4-dq/, fp4/, storage/ and int8/: a small Llama that bitsandbytes has quantised and
transformers has saved, each with want.safetensors: its weights as bitsandbytes dequantises them.
nf4: to bfloat16, from an index of shards; nf4-dq: nested scales, more of them than
one block has, to float16; fp4: to float32;
storage: nested NF4 whose bytes are kept as bfloat16; int8: LLM.int8.
    python make.py      (bitsandbytes 0.50, transformers 5.23, on a CPU)"""
import os
import shutil

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM



def source_of(wide):
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=97, hidden_size=48, intermediate_size=wide, num_hidden_layers=1,
                         num_attention_heads=3, num_key_value_heads=1, head_dim=16,
                         max_position_embeddings=256, bos_token_id=1, eos_token_id=2, initializer_range=0.1)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3] = 0  # blocks of zeros
        model.model.layers[0].mlp.up_proj.weight[4, 5] = 30  # and one with an outlier
    return model


def dequantized(codes, state):
    """As bitsandbytes' plain PyTorch (and its CUDA kernels) have it: blocks run on from row to row.
    0.50.2's C++ for CPUs counts them anew in each row where rows are no whole blocks, which are other
    numbers than were quantised; where rows are whole blocks it must agree."""
    absmax = state.absmax
    if state.nested:
        absmax = F.dequantize_blockwise(absmax, state.state2) + state.offset
    out = _dequantize_4bit_compute(codes, absmax, state.code, state.blocksize, state.shape, state.dtype)
    if state.shape[1] % state.blocksize == 0:
        assert torch.equal(out, F.dequantize_4bit(codes.reshape(-1, 1), state))
    return out.contiguous()


def make(name, dtype, shard=None, wide=80, **how):
    source_of(wide).to(dtype).save_pretrained("source")
    model = AutoModelForCausalLM.from_pretrained(
        "source", quantization_config=BitsAndBytesConfig(**how), dtype=dtype, device_map="cpu")
    shutil.rmtree(name, ignore_errors=True)
    model.save_pretrained(name, **({"max_shard_size": shard} if shard else {}))
    want = {}
    for key, value in model.state_dict().items():
        if key.endswith(".weight") and value.dtype in (torch.float32, torch.float16, torch.bfloat16) \
                and value.shape[-1] != 1:
            want[key] = value.contiguous().clone()
    for key, module in model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            w = module.weight
            want[key + ".weight"] = dequantized(w.data.view(torch.uint8).reshape(-1), w.quant_state)
            assert want[key + ".weight"].dtype == dtype
        elif isinstance(module, bnb.nn.Linear8bitLt):
            want[key + ".weight"] = F.int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
    save_file(want, name + "/want.safetensors")
    shutil.rmtree("source")
    if os.path.exists(name + "/generation_config.json"):
        os.remove(name + "/generation_config.json")


make("nf4", torch.bfloat16, shard="12KB", load_in_4bit=True, bnb_4bit_quant_type="nf4")
make("nf4-dq", torch.float16, wide=352, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
make("fp4", torch.float32, load_in_4bit=True, bnb_4bit_compute_dtype="bfloat16")
make("storage", torch.bfloat16, load_in_4bit=True, bnb_4bit_quant_type="nf4",
     bnb_4bit_use_double_quant=True, bnb_4bit_quant_storage="bfloat16")
make("int8", torch.float16, load_in_8bit=True)
