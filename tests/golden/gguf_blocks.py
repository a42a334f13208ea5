"""gguf_blocks.py - a GGUF with every block type as a base: `graft eval` on it gives the very number
that it gives on a Hugging Face folder of the dequantised weights, and `graft train` the very adapter; one of
the models is in several files.
    python tests/golden/gguf_blocks.py build/bin/graft
Needs gguf, numpy, torch, safetensors and llama-cpp-python (its library quantises)."""
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import save_file

graft = os.path.abspath(sys.argv[1])
D, F, H, G, K, V, L = 256, 512, 4, 2, 32, 97, 2
ONES = np.ones(D, np.float32)
rng = np.random.default_rng(3)
lib = ctypes.CDLL(llama_cpp.llama_cpp._lib._name).ggml_quantize_chunk
lib.restype = ctypes.c_size_t


def quantise(x, name):
    """As stored, and the values that it stands for."""
    t = gguf.GGMLQuantizationType[name]
    if name in ("F32", "F16"):
        raw = x.astype(np.float32 if name == "F32" else np.float16)
        return raw, t, raw.astype(np.float32)
    block, size = gguf.GGML_QUANT_SIZES[t]
    raw = np.zeros((x.shape[0], x.shape[1] // block * size), np.uint8)
    n = lib(int(t), x.ctypes.data_as(ctypes.c_void_p), raw.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(0), ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1]), None)
    assert n == raw.nbytes
    return raw, t, gguf.dequantize(raw, t)


def permuted(w, heads):  # Hugging Face's order of q and k rows to GGUF's
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def restored(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def run(*args):
    out = subprocess.run([graft, *args], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout


def results(model, data, folder, precisions):
    """Losses on every instruction set here, and an adapter's bytes."""
    got = []
    for isa in ("plain", "avx2", "avx512"):
        for precision in precisions:
            args = ("--model", model, "--data", data, "--isa", isa, "--precision", precision)
            got.append(json.loads(run("eval", "--json", *args))["loss"])
            run("train", "--output-dir", folder + "/out", "--max-steps", "2", "--batch-size", "4", *args)
            got.append(open(folder + "/out/adapter_model.safetensors", "rb").read())
            shutil.rmtree(folder + "/out")
    return got


def check(folder, label, embed, wide, narrow, down, split=0):
    """`narrow`: o_proj's, whose rows are no whole super-blocks."""
    w = gguf.GGUFWriter(f"{folder}/{label}.gguf", "llama", split_max_tensors=split)
    for key, value in (("block_count", L), ("context_length", 512), ("embedding_length", D),
                       ("feed_forward_length", F), ("attention.head_count", H), ("attention.head_count_kv", G),
                       ("attention.key_length", K), ("attention.value_length", K), ("rope.dimension_count", K),
                       ("vocab_size", V)):
        w.add_uint32("llama." + key, value)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    hf = {}

    def add(name, hf_name, shape, kind, heads=0):
        x = (rng.normal(0, 0.08, shape) * rng.uniform(0.3, 2, (shape[0], 1))).astype(np.float32)
        raw, t, back = quantise(permuted(x, heads) if heads else x, kind)
        w.add_tensor(name, raw, raw_dtype=t)
        hf[hf_name] = np.ascontiguousarray(restored(back, heads) if heads else back)

    def norm(name, hf_name):
        w.add_tensor(name, ONES)
        hf[hf_name] = ONES

    add("token_embd.weight", "model.embed_tokens.weight", (V, D), embed)
    norm("output_norm.weight", "model.norm.weight")
    add("output.weight", "lm_head.weight", (V, D), embed)
    for i in range(L):
        a, b = f"blk.{i}.", f"model.layers.{i}."
        norm(a + "attn_norm.weight", b + "input_layernorm.weight")
        norm(a + "ffn_norm.weight", b + "post_attention_layernorm.weight")
        add(a + "attn_q.weight", b + "self_attn.q_proj.weight", (H * K, D), wide, H)
        add(a + "attn_k.weight", b + "self_attn.k_proj.weight", (G * K, D), wide, G)
        add(a + "attn_v.weight", b + "self_attn.v_proj.weight", (G * K, D), down)
        add(a + "attn_output.weight", b + "self_attn.o_proj.weight", (D, H * K), narrow)
        add(a + "ffn_gate.weight", b + "mlp.gate_proj.weight", (F, D), wide)
        add(a + "ffn_up.weight", b + "mlp.up_proj.weight", (F, D), wide)
        add(a + "ffn_down.weight", b + "mlp.down_proj.weight", (D, F), down)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.makedirs(f"{folder}/{label}")
    save_file(hf, f"{folder}/{label}/model.safetensors", {"format": "pt"})
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=D, intermediate_size=F,
                  num_attention_heads=H, num_key_value_heads=G, head_dim=K, num_hidden_layers=L, vocab_size=V,
                  rms_norm_eps=1e-5, max_position_embeddings=512, torch_dtype="float32", hidden_act="silu")
    json.dump(config, open(f"{folder}/{label}/config.json", "w"))
    data = f"{folder}/tokens.jsonl"
    with open(data, "w") as f:
        for _ in range(4):
            ids = rng.integers(3, V, 60).tolist()
            f.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")
    first = f"{label}-00001-of-{len(w.tensors):05}" if split else label
    # In bf16 an embedding of f32 is held as bf16, one of blocks is not: there both are f32.
    precisions = ("fp32", "bf16") if embed == "F32" else ("fp32",)
    blocks, plain = (results(m, data, folder, precisions) for m in (f"{folder}/{first}.gguf", f"{folder}/{label}"))
    same = blocks == plain
    print(f"{label:8} losses {blocks[0]!r} to {blocks[-2]!r}, {len(w.tensors)} files:", "equal" if same else "DIFFERENT")
    assert same


with tempfile.TemporaryDirectory() as folder:
    check(folder, "q4_k_m", "Q6_K", "Q4_K", "Q5_0", "Q6_K", split=5)
    check(folder, "q5_k", "Q5_K", "Q5_K", "Q5_1", "Q8_0")
    check(folder, "q3_k", "Q4_K", "Q3_K", "IQ4_NL", "Q5_K")
    check(folder, "q2_k", "Q2_K", "Q2_K", "Q4_0", "Q3_K")
    check(folder, "f32", "F32", "Q4_K", "IQ4_NL", "Q6_K")
    check(folder, "f32-b", "F32", "Q5_K", "Q5_1", "Q2_K")
    check(folder, "f32-c", "F32", "Q3_K", "Q8_0", "IQ4_XS")
    check(folder, "iq4_xs", "Q4_1", "IQ4_XS", "IQ4_NL", "Q8_0")
