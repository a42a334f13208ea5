#!/usr/bin/env python3
"""PyTorch + PEFT on the work of `bench step`: one row of random tokens through a model's shape with
random weights, LoRA on all linear layers, forward, backward, clip, AdamW. Needs torch, transformers
and peft; says which is missing and exits with 77.

    python3 tools/peers.py --precision bf16 --row-tokens 512 --threads 2
    python3 tools/peers.py --precision bf16 --row-tokens 4096 --device cuda --shape '{"vocab_size":…}'

Prints a JSON line with the fields of `bench step`. `bench peers` runs both on the same work."""
import argparse
import json
import resource
import statistics
import sys
import time

SMOLLM2 = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
           "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
           "max_position_embeddings": 8192, "rope_theta": 100000.0, "tie_word_embeddings": True}

parser = argparse.ArgumentParser()
parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
parser.add_argument("--row-tokens", type=int, default=512)
parser.add_argument("--lora-r", type=int, default=16)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
parser.add_argument("--shape", default=json.dumps(SMOLLM2), help="fields of a Llama's config.json")
parser.add_argument("--checkpoint", action="store_true", help="with activation checkpointing")
a = parser.parse_args()

try:
    import peft
    import torch
    import transformers
except ImportError as missing:
    print(f"peers: {missing.name} is not installed (python3 -m pip install torch transformers peft)",
          file=sys.stderr)
    sys.exit(77)
if a.device == "cuda" and not torch.cuda.is_available():
    print("peers: this PyTorch has no CUDA device", file=sys.stderr)
    sys.exit(77)

cuda = a.device == "cuda"
torch.set_num_threads(a.threads)
torch.manual_seed(1)
dtype = torch.float32 if a.precision == "fp32" else torch.bfloat16
config = transformers.LlamaConfig(rms_norm_eps=1e-5, use_cache=False, **json.loads(a.shape))
with torch.device(a.device):
    torch.set_default_dtype(dtype)
    model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
if a.checkpoint:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
model = peft.get_peft_model(model, peft.LoraConfig(
    r=a.lora_r, lora_alpha=2 * a.lora_r, target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4)
ids = torch.randint(0, config.vocab_size, (1, a.row_tokens), device=a.device)


def now():
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


seconds, losses = [], []
for step in range(a.steps + 2):  # the first two warm up
    start = now()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if step > 1:
        seconds.append(now() - start)
        losses.append(loss.item())

median = statistics.median(seconds)
spread = statistics.pstdev(seconds) / median * 100
peak = (torch.cuda.max_memory_allocated() if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
result = {
    "schema": 1, "bench": "step", "peer": "torch+peft", "torch": torch.__version__,
    "transformers": transformers.__version__, "peft": peft.__version__,
    "precision": a.precision, "isa": "cuda" if cuda else "torch", "threads": a.threads,
    "rank": a.lora_r, "row": a.row_tokens, "tokens/s": a.row_tokens / median,
    "p10": a.row_tokens / sorted(seconds)[int(0.9 * (len(seconds) - 1) + 0.5)],
    "p90": a.row_tokens / sorted(seconds)[int(0.1 * (len(seconds) - 1) + 0.5)],
    "noise_%": spread, "peak_MiB": peak / 2 ** 20, "checkpoint": a.checkpoint,
    "loss_first": losses[0], "loss_last": losses[-1]}
if cuda:
    result["gpu"] = {"name": torch.cuda.get_device_name()}
print(json.dumps(result))
