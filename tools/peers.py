#!/usr/bin/env python3
"""PyTorch + PEFT on the work of `bench step`: one row of random tokens through SmolLM2-135M's shape,
LoRA on all linear layers, forward, backward, AdamW. Needs torch, transformers, peft.

    python3 tools/peers.py --precision fp32 --row-tokens 512 --threads 2

Prints a JSON line with the fields of `bench step`."""
import argparse
import json
import resource
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
parser.add_argument("--row-tokens", type=int, default=512)
parser.add_argument("--lora-r", type=int, default=16)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=5)
a = parser.parse_args()

torch.set_num_threads(a.threads)
torch.manual_seed(1)
dtype = torch.float32 if a.precision == "fp32" else torch.bfloat16
config = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
    rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True, use_cache=False)
model = LlamaForCausalLM(config).to(dtype)
model = get_peft_model(model, LoraConfig(r=a.lora_r, lora_alpha=2 * a.lora_r,
                                         target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
ids = torch.randint(0, config.vocab_size, (1, a.row_tokens))

seconds = []
for step in range(a.steps + 1):  # the first one warms up
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if step:
        seconds.append(time.perf_counter() - start)

median = statistics.median(seconds)
print(json.dumps({
    "case": "step", "peer": "torch+peft", "torch": torch.__version__, "precision": a.precision,
    "threads": a.threads, "rank": a.lora_r, "row_tokens": a.row_tokens, "seconds_median": median,
    "tokens_per_second": a.row_tokens / median,
    "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
