#!/usr/bin/env python3
"""A model folder of 70 billion parameters that takes no room on the disk, and an adapter for it.

    python3 tests/golden/zeros_70b.py DIR            makes DIR/model and DIR/adapter
    python3 tests/golden/zeros_70b.py DIR GRAFT      and merges them into DIR/merged, with checks

The sizes are Llama 3 70B's (140 GB in bf16); the weights are zeros, written as holes of sparse files.
The adapter has rank 16 on all linear layers; its B is zero but in layer 0's q_proj and layer 79's
down_proj, so that there is something to find. With a program it measures: exit code 1 if the merge
takes 1 GiB of anonymous memory or more, if what is not zero is wrong, or if the result takes more of
the disk than what is not zero explains. Nothing but Python's standard library is needed; some 4 GB of
disk.
"""

import json
import os
import struct
import subprocess
import sys
import time

V, D, F, L, H, G, K, R = 128256, 8192, 28672, 80, 64, 8, 128, 16
SHARD = 5 * 10**9
SHAPES = {"self_attn.q_proj": (H * K, D), "self_attn.k_proj": (G * K, D), "self_attn.v_proj": (G * K, D),
          "self_attn.o_proj": (D, H * K), "mlp.gate_proj": (F, D), "mlp.up_proj": (F, D),
          "mlp.down_proj": (D, F)}
BUSY = {"model.layers.0.self_attn.q_proj", "model.layers.79.mlp.down_proj"}
A, B, ALPHA = 0.5, 0.25, 32  # every number of A and of B: the change is A * B * R * ALPHA / R


def tensors():
    yield "model.embed_tokens.weight", (V, D)
    for layer in range(L):
        name = f"model.layers.{layer}."
        for module, shape in SHAPES.items():
            yield name + module + ".weight", shape
        yield name + "input_layernorm.weight", (D,)
        yield name + "post_attention_layernorm.weight", (D,)
    yield "model.norm.weight", (D,)
    yield "lm_head.weight", (V, D)


def elements(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def write(path, entries, dtype, size, fill=lambda name: None):
    """A safetensors file of holes, with the numbers of `fill` where it gives one."""
    at, header = 0, {"__metadata__": {"format": "pt"}}
    for name, shape in sorted(entries):
        n = elements(shape) * size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        start = f.tell()
        for name, shape in sorted(entries):
            number = fill(name)
            if number is not None:
                f.seek(start + header[name]["data_offsets"][0])
                f.write(struct.pack("<f", number) * elements(shape))
        f.truncate(start + at)


def make_model(path):
    os.makedirs(path)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": V, "hidden_size": D,
              "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H,
              "num_key_value_heads": G, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05,
              "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
              "bos_token_id": 128000, "eos_token_id": 128001}
    vocab = {chr(c): i for i, c in enumerate([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100),
                                              *range(0x100, 0x144)])}
    tokenizer = {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
                 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                   "use_regex": True},
                 "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                             "use_regex": True},
                 "model": {"type": "BPE", "vocab": vocab, "merges": []}}
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer)):
        with open(f"{path}/{name}", "w") as f:
            json.dump(value, f, indent=2)
    shards, used = [[]], 0
    for name, shape in tensors():
        n = 2 * elements(shape)
        if shards[-1] and used + n > SHARD:
            shards.append([])
            used = 0
        shards[-1].append((name, shape))
        used += n
    index = {}
    for i, entries in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write(f"{path}/{file}", entries, "BF16", 2)
        index.update({name: file for name, _ in entries})
    with open(f"{path}/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": sum(2 * elements(s) for _, s in tensors())},
                   "weight_map": index}, f)


def make_adapter(path):
    os.makedirs(path)
    with open(f"{path}/adapter_config.json", "w") as f:
        json.dump({"peft_type": "LORA", "r": R, "lora_alpha": ALPHA,
                   "target_modules": [m.split(".")[1] for m in SHAPES]}, f)
    entries = []
    for layer in range(L):
        for module, (rows, cols) in SHAPES.items():
            name = f"base_model.model.model.layers.{layer}.{module}.lora_"
            entries += [(name + "A.weight", (R, cols)), (name + "B.weight", (rows, R))]

    def fill(name):
        if name.split("model.", 2)[2].rsplit(".lora_")[0] not in BUSY:
            return None
        return A if "lora_A" in name else B

    write(f"{path}/adapter_model.safetensors", entries, "F32", 4, fill)


def on_disk(path):
    return sum(os.stat(f"{path}/{f}").st_blocks for f in os.listdir(path)) * 512


def first_number(path, name):
    """Of a tensor of the merged folder, in bf16; and where it is in which file."""
    with open(f"{path}/model.safetensors.index.json") as f:
        file = f"{path}/" + json.load(f)["weight_map"][name]
    with open(file, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        begin, end = json.loads(f.read(n))[name]["data_offsets"]
        f.seek(8 + n + begin)
        first = f.read(2)
        f.seek(8 + n + end - 2)
        last = f.read(2)
    return [struct.unpack("<f", b"\0\0" + x)[0] for x in (first, last)]


def main():
    path = sys.argv[1]
    if not os.path.exists(f"{path}/model"):
        make_model(f"{path}/model")
        make_adapter(f"{path}/adapter")
    size = sum(os.path.getsize(f"{path}/model/{f}") for f in os.listdir(f"{path}/model"))
    print(f"model: {size / 1e9:.1f} GB, {on_disk(f'{path}/model') / 1e6:.1f} MB of the disk")
    if len(sys.argv) < 3:
        return
    start = time.time()
    done = subprocess.run([sys.argv[2], "merge", "--model", f"{path}/model", "--adapter", f"{path}/adapter",
                           "--output-dir", f"{path}/merged", "--json"], capture_output=True, text=True)
    seconds = time.time() - start
    if done.returncode:
        sys.exit(done.stderr)
    result = json.loads(done.stdout)
    peak, disk = result["peak_anonymous_bytes"], on_disk(f"{path}/merged")
    print(f"merged: {result['tensors']} tensors, {result['bytes'] / 1e9:.1f} GB in {seconds:.0f} s, "
          f"{result['bytes'] / 1e9 / seconds:.2f} GB/s; anonymous memory at most {peak / 2**20:.1f} MiB; "
          f"{disk / 1e6:.1f} MB of the disk")
    busy = sum(2 * elements(SHAPES[m.split(".", 3)[3]]) for m in BUSY)
    wrong = []
    if peak >= 2**30:
        wrong.append("1 GiB of anonymous memory or more")
    if disk > busy + 64e6:  # tokenizer and configs, blocks at both ends of what is not zero
        wrong.append("zeros stand on the disk")
    if {m["name"] for m in result["modules"] if m["delta_rms"] > 0} != BUSY:
        wrong.append("other modules changed")
    for name, want in (("model.layers.0.self_attn.q_proj.weight", A * B * ALPHA),
                       ("model.layers.79.mlp.down_proj.weight", A * B * ALPHA),
                       ("model.layers.1.self_attn.q_proj.weight", 0), ("lm_head.weight", 0)):
        if first_number(f"{path}/merged", name) != [want, want]:
            wrong.append(f"{name} is {first_number(f'{path}/merged', name)}, not {want}")
    sys.exit("FAILED: " + "; ".join(wrong) if wrong else 0)


main()
