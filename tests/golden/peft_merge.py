#!/usr/bin/env python3
"""Compares `graft merge` with PEFT's merge_and_unload, bit for bit, on random models.

    python3 peft_merge.py build/bin/graft

Needs torch, transformers and peft; not part of the test run. Every family, ranks 8 to 128, base and
adapter dtypes, rsLoRA, rank and alpha patterns. The merged folder is loaded again by transformers
and its logits are compared with those of PEFT's merged model. Exit code 1 if anything differs.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import zlib

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config,
                          Qwen3Config)

SIZES = dict(vocab_size=211, hidden_size=256, intermediate_size=333, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256)
FAMILIES = {
    "llama": lambda: LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama-tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=8),
    "qwen2": lambda: Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=64),
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def make(folder, family, dtype, rank, alpha, rslora, adapter_dtype, pattern):
    torch.manual_seed(zlib.crc32(f"{family} {dtype} {rank}".encode()))
    model = AutoModelForCausalLM.from_config(FAMILIES[family]()).to(DTYPES[dtype])
    model.save_pretrained(f"{folder}/model")
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype=DTYPES[dtype])
    more = dict(rank_pattern={"down_proj": 3}, alpha_pattern={"v_proj": 5}) if pattern else {}
    peft = get_peft_model(model, LoraConfig(
        r=rank, lora_alpha=alpha, use_rslora=rslora, target_modules="all-linear",
        task_type="CAUSAL_LM", **more))
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    peft.save_pretrained(f"{folder}/adapter")
    if adapter_dtype != "f32":
        path = f"{folder}/adapter/adapter_model.safetensors"
        tensors = {k: v.to(DTYPES[adapter_dtype]) for k, v in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})


def reference(folder, dtype):
    base = AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype=DTYPES[dtype])
    return PeftModel.from_pretrained(base, f"{folder}/adapter").merge_and_unload()


def check(graft, family, dtype, rank, alpha=16, rslora=False, adapter_dtype="f32", pattern=False):
    with tempfile.TemporaryDirectory() as folder:
        make(folder, family, dtype, rank, alpha, rslora, adapter_dtype, pattern)
        want = reference(folder, dtype)
        subprocess.run([graft, "merge", "--model", f"{folder}/model", "--adapter",
                        f"{folder}/adapter", "--output-dir", f"{folder}/merged"], check=True,
                       stderr=subprocess.DEVNULL)
        got = AutoModelForCausalLM.from_pretrained(f"{folder}/merged", dtype="auto")
        expected, found = want.state_dict(), got.state_dict()
        different = 0 if expected.keys() == found.keys() else 1
        for name in expected.keys() & found.keys():
            a, b = expected[name], found[name]
            if a.dtype != b.dtype or a.shape != b.shape:
                different += a.numel()
            else:
                different += int((a.view(torch.uint8) != b.view(torch.uint8)).sum())
        ids = torch.arange(40)[None]
        with torch.no_grad():
            same = torch.equal(want(ids).logits, got(ids).logits)
        label = f"{family} {dtype} r={rank} alpha={alpha} rslora={rslora} adapter={adapter_dtype}" \
                f"{' patterns' if pattern else ''}"
        print(f"{'ok  ' if different == 0 and same else 'FAIL'} {label}: {different} bytes differ, "
              f"logits {'equal' if same else 'differ'}", flush=True)
        return different == 0 and same


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    graft = os.path.abspath(sys.argv[1])
    good = [check(graft, "llama", dtype, rank, alpha=alpha, rslora=rslora)
            for dtype, (rank, alpha, rslora) in itertools.product(
                DTYPES, [(8, 16, False), (16, 7, False), (64, 16, True), (128, 24, True)])]
    good += [check(graft, family, "bf16", 12, alpha=9) for family in FAMILIES]
    good += [check(graft, "qwen3", "bf16", 16, adapter_dtype=a) for a in ("bf16", "f16")]
    good += [check(graft, "mistral", "f32", 16, rslora=True, pattern=True)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
