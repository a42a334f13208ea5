#!/usr/bin/env python3
"""What `graft export` writes, loaded by what it is meant for.

    python3 export_check.py build/bin/graft [MODEL.gguf] [FAMILY ...]

Needs torch, transformers, peft, gguf and llama-cpp-python; not part of the test run. For tiny random
models PEFT makes adapters of every kind, and

- the GGUF adapter is loaded by llama.cpp beside a GGUF of the base: the logits must be PEFT's;
- adapter_model.bin goes through torch.load(weights_only=True) and PeftModel.from_pretrained;
- the ggla file is parsed field by field, and scale * B A must be PEFT's update of the weight.

With a GGUF model an adapter is trained on it, and llama.cpp's logits of base + adapter must be those
of the model that `graft merge` makes of both. Exit code 1 if anything differs.
"""

import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile

import gguf
import gguf_model
import llama_cpp
import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GemmaConfig,
                          GraniteConfig, LlamaConfig, MistralConfig, Olmo2Config, Phi3Config,
                          Qwen2Config, Qwen3Config, SmolLM3Config)

# Largest difference of a logit, over the largest logit: f32 sums in another order.
F32_MAX = 2e-5
# The same with the adapter's matrices in these types. Llama.cpp then rounds the activations that meet
# them as well: 2^-11, 2^-8, and 1/254 of the largest of 32, in adapters that change every logit by its
# own size.
TYPE_MAX = {"f32": F32_MAX, "f16": 1e-2, "bf16": 0.15, "q8_0": 0.3}
GELU_MAX = 2e-3  # of the Gemmas, instead of F32_MAX: llama.cpp's GELU is a table of 16 bits
# A quantised base: llama.cpp rounds activations to 8 bits in blocks of 32 (Q8_1), 1/254 of the
# block's largest each, in every product.
QUANTISED_MAX = 0.08

SIZES = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             initializer_range=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=0)
FAMILIES = {
    "llama": LlamaConfig(**SIZES),
    "llama-tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=32),
    "gemma": GemmaConfig(**SIZES, head_dim=32),
    "gemma2": Gemma2Config(**SIZES, head_dim=32, query_pre_attn_scalar=32, sliding_window=5),
    "gemma3": Gemma3TextConfig(**SIZES | {"num_hidden_layers": 7}, head_dim=32, query_pre_attn_scalar=32,
                               sliding_window=5),
    # Not by its name: llama.cpp asks files with phi3 in theirs for tokens of the real ones.
    "fused": Phi3Config(**SIZES, original_max_position_embeddings=256),
    "smollm3": SmolLM3Config(**SIZES | {"num_hidden_layers": 5}),
    "smollm3-untied": SmolLM3Config(**SIZES, tie_word_embeddings=False),
    "granite": GraniteConfig(**SIZES, embedding_multiplier=3.0, attention_multiplier=0.2,
                             residual_multiplier=0.5, logits_scaling=2.0),
    "olmo2": Olmo2Config(**SIZES),
}
FUSED = {"q_proj": "qkv_proj", "k_proj": "o_proj", "up_proj": "gate_up_proj"}  # Phi-3's
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "plain": dict(r=8, lora_alpha=16, target_modules=ALL),
    "half": dict(r=8, lora_alpha=4.5, target_modules=["q_proj", "v_proj"]),
    "rslora": dict(r=8, lora_alpha=16, use_rslora=True, target_modules=ALL),
    "patterns": dict(r=8, lora_alpha=16, target_modules=ALL, rank_pattern={"q_proj": 4, "up_proj": 5},
                     alpha_pattern={"k_proj": 7, r"layers.1.mlp.down_proj": 3.5}),
    "rslora-patterns": dict(r=8, lora_alpha=16, use_rslora=True, target_modules=ALL,
                            rank_pattern={"q_proj": 4, "up_proj": 16},
                            alpha_pattern={"k_proj": 7, r"layers.1.mlp.down_proj": 3.5}),
    "outer": dict(r=8, lora_alpha=16, target_modules=["q_proj", "embed_tokens", "lm_head"]),
}
TOKENS = [1, 5, 17, 3, 90, 44, 44, 8, 61, 2, 33]

failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print("FAILED:", what)


def graft(*args):
    done = subprocess.run([GRAFT, *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"graft {' '.join(map(str, args))}: {done.stderr}")
    return done.stdout


# ---- llama.cpp ----------------------------------------------------------------------------------


@llama_cpp.llama_log_callback
def quiet(level, text, data):
    if level == 4:  # errors; 5 goes on with what was said before
        sys.stderr.write(text.decode())


def llama_logits(base, adapter, tokens):
    """Logits of every token, [tokens, V]."""
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(base.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.type_k = params.type_v = 0  # f32
    params.flash_attn_type = 0
    lora = None
    if adapter:
        lora = llama_cpp.llama_adapter_lora_init(model, adapter.encode())
        check(lora, f"{adapter}: llama.cpp does not load it")
    context = llama_cpp.llama_init_from_model(model, params)
    if lora:
        llama_cpp.llama_set_adapters_lora(context, (llama_cpp.llama_adapter_lora_p_ctypes * 1)(lora), 1,
                                          (ctypes.c_float * 1)(1.0))
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
        batch.seq_id[i][0], batch.logits[i] = 0, 1
    check(llama_cpp.llama_decode(context, batch) == 0, f"{base}: llama_decode")
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    out = np.stack([np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (vocab,)).copy()
                    for i in range(len(tokens))])
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return out


def compare(mine, theirs, limit, what):
    off = np.abs(mine - theirs).max() / np.abs(theirs).max()
    check(off <= limit, f"{what}: logits are {off:.3g} off")
    return off


# ---- PEFT ---------------------------------------------------------------------------------------


def torch_logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float().numpy()


def make_adapter(base, options, path):
    """An adapter that changes something: PEFT starts with B = 0."""
    torch.manual_seed(3)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
                           LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_(0, 0.15)
    model.save_pretrained(path)
    return model.eval()


def check_bin(folder, base, logits, what):
    state = torch.load(f"{folder}/adapter_model.bin", weights_only=True)
    stored = load_file(f"{folder}/../adapter/adapter_model.safetensors")
    check(state.keys() == stored.keys() and
          all(torch.equal(state[k], stored[k]) and state[k].dtype == stored[k].dtype for k in stored),
          f"{what}: adapter_model.bin")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
                                       folder).eval()
    check(np.array_equal(torch_logits(loaded, TOKENS), logits), f"{what}: PEFT on adapter_model.bin")


# ---- ggla ---------------------------------------------------------------------------------------

GGLA = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj"}
GGLA_FUSED = {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}


def parse_ggla(path):
    data = open(path, "rb").read()
    magic, version, r, alpha = struct.unpack_from("<4s3i", data)
    check((magic, version) == (b"algg", 1), f"{path}: magic, version")
    at, out = 16, {}
    while at < len(data):
        dims, length, kind, ne0, ne1 = struct.unpack_from("<5i", data, at)
        check((dims, kind) == (2, 0), f"{path}: dimensions, type")
        name = data[at + 20:at + 20 + length].decode()
        end = at + 20 + length
        at = (end + 31) // 32 * 32
        check(not any(data[end:at]), f"{path}: padding")
        out[name] = np.frombuffer(data, "<f4", ne0 * ne1, at).reshape(ne1, ne0)
        at += 4 * ne0 * ne1
    check(at == len(data), f"{path}: its end")
    return r, alpha, out


def check_ggla(path, model, what):
    r, alpha, found = parse_ggla(path)
    seen = 0
    for name, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        seen += 1
        layer = name.split("layers.")[1].split(".")[0]
        part = next(k for k, v in [*GGLA_FUSED.items(), *GGLA.items()] if name.endswith(v))
        a, b = found[f"blk.{layer}.{part}.weight.loraA"], found[f"blk.{layer}.{part}.weight.loraB"]
        mine = alpha / r * (b @ a.T)
        theirs = module.get_delta_weight("default").detach().numpy()
        c = model.config
        if c.model_type in gguf_model.PERMUTED and part in ("attn_q", "attn_k"):
            heads = c.num_attention_heads if part == "attn_q" else c.num_key_value_heads
            theirs = gguf_model.interleave(theirs, heads)
        check(np.allclose(mine, theirs, rtol=1e-5, atol=1e-6), f"{what}: {name} in the ggla file")
    check(2 * seen == len(found), f"{what}: {len(found)} matrices in the ggla file")


# ---- all of it ----------------------------------------------------------------------------------


def options_for(config):
    """Phi-3's modules are fused; of a tied embedding llama.cpp makes two tensors."""
    for kind, options in ADAPTERS.items():
        if kind == "outer" and config.tie_word_embeddings:
            continue
        if config.model_type == "phi3":
            text = json.dumps(options)
            for old, new in FUSED.items():
                text = text.replace(old, new)
            options = json.loads(text)
            options["target_modules"] = sorted({"qkv_proj", "o_proj", "gate_up_proj", "down_proj", "embed_tokens",
                                                "lm_head"} & set(options["target_modules"]))
        yield kind, options


def check_family(name, config, scratch):
    torch.manual_seed(1)
    base, file = f"{scratch}/{name}", f"{scratch}/{name}.gguf"
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith(".bias"):
                value.normal_(0, 0.1)
            elif "norm" in key:
                value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(base)
    gguf_model.write(file, config.model_type, model, gguf.GGMLQuantizationType.F32, "no_vocab")
    exact = GELU_MAX if config.model_type.startswith("gemma") else F32_MAX
    plain = compare(llama_logits(file, None, TOKENS), torch_logits(model.eval(), TOKENS), exact,
                    f"{name}: base")
    for kind, options in options_for(config):
        what = f"{name} {kind}"
        folder = f"{scratch}/{name}-{kind}"
        peft = make_adapter(base, options, f"{folder}/adapter")
        logits = torch_logits(peft, TOKENS)
        check(np.abs(logits - torch_logits(model, TOKENS)).max() > 0.1, f"{what}: changes nothing")
        offs = []
        for dtype, limit in TYPE_MAX.items():
            out = f"{folder}/{dtype}.gguf"
            graft("export", "--adapter", f"{folder}/adapter", "--model", base, "--format", "gguf",
                  "--dtype", dtype, "--output", out)
            offs.append(f"{dtype} {compare(llama_logits(file, out, TOKENS), logits, max(limit, exact), what):.2g}")
        graft("export", "--adapter", f"{folder}/adapter", "--model", base, "--format",
              "bin" if kind == "outer" else "bin,ggla", "--output", f"{folder}/out")
        check_bin(f"{folder}/out", base, logits, what)
        if kind != "outer":
            check_ggla(f"{folder}/out/ggml-adapter-model.bin", peft, what)
        print(f"{what}: llama.cpp off by {', '.join(offs)} (base {plain:.2g})")


def check_model(path, scratch):
    """A quantised base with its tokenizer: trained, exported, against the merged model."""
    chat, out, merged = f"{scratch}/chat.jsonl", f"{scratch}/trained", f"{scratch}/merged"
    with open(chat, "w") as f:
        for question, answer in (("How many legs has a spider?", "Eight."), ("2 + 2?", "4"),
                                 ("Who are you?", "A graft.")):
            f.write(json.dumps({"messages": [{"role": "user", "content": question},
                                             {"role": "assistant", "content": answer}]}) + "\n")
    graft("train", "--model", path, "--data", chat, "--output-dir", out, "--max-steps", 12,
          "--learning-rate", 2e-3, "--use-rslora", "--lora-r", 8, "--rank-pattern", '{"v_proj":4}')
    graft("export", "--adapter", out, "--model", path, "--format", "gguf", "--output", f"{scratch}/t.gguf")
    graft("merge", "--model", path, "--adapter", out, "--output-dir", merged, "--dtype", "f32")
    tokens = json.loads(graft("tokenize", "--model", path, "--text",
                              "<|im_start|>user\nHow many legs has a spider?<|im_end|>\n"
                              "<|im_start|>assistant\nEight.<|im_end|>", "--json"))["ids"]
    theirs = torch_logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval(), tokens)
    mine = llama_logits(path, f"{scratch}/t.gguf", tokens)
    base = llama_logits(path, None, tokens)
    off = compare(mine, theirs, QUANTISED_MAX, path)
    change = np.abs(base - theirs).max() / np.abs(theirs).max()
    check(off < change / 4, f"{path}: the adapter's change of {change:.3g} is not seen")
    print(f"{path}: off by {off:.2g}; the adapter changes logits by {change:.2g}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    GRAFT = os.path.abspath(sys.argv[1])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as where:
        for family in [name for name in sys.argv[2:] if name in FAMILIES] or FAMILIES:
            check_family(family, FAMILIES[family], where)
        for path in sys.argv[2:]:
            if path not in FAMILIES:
                check_model(path, where)
    print("all equal" if not failures else f"{failures} failed")
    sys.exit(failures > 0)
