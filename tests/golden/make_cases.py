#!/usr/bin/env python3
"""Makes tests/golden/cases: tiny random models with what PyTorch, transformers and PEFT compute for them
in fp32 on a CPU. Made with torch 2.15.0, transformers 5.23.0, peft 0.21.2, gguf 0.19.0.

    python3 tests/golden/make_cases.py tests/golden/cases [CASE...]

A case holds model/ (bf16 weights), adapter-init/ (A and B not zero), adapter-trained/ (after 12 steps of
AdamW on the two examples of tokens.jsonl as one batch, cosine schedule, 2 warm-up steps, clipping at 1),
expected.json (losses, gradient norms, rates) and expected.safetensors (logits; gradients of step 0 before
clipping; weights of layer 0 merged in fp32). Families that have no other GGUF in the tests get model.gguf,
with the same bf16 weights."""
import json
import math
import os
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
import gguf
import gguf_model
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GemmaConfig,
                          GemmaForCausalLM, GraniteConfig, GraniteForCausalLM, LlamaConfig, LlamaForCausalLM,
                          MistralConfig, MistralForCausalLM, Olmo2Config, Olmo2ForCausalLM, Phi3Config,
                          Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
                          SmolLM3Config, SmolLM3ForCausalLM)

T, STEPS, WARMUP = 24, 12, 2
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPE = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             initializer_range=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=0)
TINY = SHAPE | dict(vocab_size=61, hidden_size=32, intermediate_size=40, num_attention_heads=4)
PHI = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
# Half of a head of 8 rotates; 24 tokens are more than the 16 of the short factors.
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.5,
                original_max_position_embeddings=16, short_factor=[1.0, 1.3], long_factor=[1.5, 4.0])
LAYERS = ["sliding_attention", "full_attention"]
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=16)
CASES = {
    "llama-gqa": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=False),
                  LoraConfig(r=4, lora_alpha=8, target_modules=ALL), 1e-3, 0.0),
    "llama3-rope-tied": (LlamaForCausalLM,
                         LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3),
                         LoraConfig(r=2, lora_alpha=4, use_rslora=True,
                                    target_modules=["q_proj", "v_proj"]), 1e-3, 0.0),
    "mistral-window": (MistralForCausalLM,
                       MistralConfig(**SHAPE, sliding_window=7, tie_word_embeddings=False),
                       LoraConfig(r=4, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
    "qwen2-bias": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, tie_word_embeddings=True),
                   LoraConfig(r=4, lora_alpha=16, target_modules=ALL), 1e-3, 0.1),
    "llama-dora": (LlamaForCausalLM, LlamaConfig(**SHAPE, attention_bias=True),
                   LoraConfig(r=4, lora_alpha=8, use_dora=True,
                              target_modules=["q_proj", "v_proj", "o_proj", "up_proj",
                                              "down_proj"]), 1e-3, 0.0),
    "llama-outer": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=False),
                    LoraConfig(r=4, lora_alpha=8,
                               target_modules=["v_proj", "embed_tokens", "lm_head"]), 1e-3, 0.0),
    "llama-saved": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=False),
                    LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"],
                               modules_to_save=["embed_tokens", "lm_head"]), 1e-3, 0.0),
    "qwen3-qknorm": (Qwen3ForCausalLM,
                     Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False),
                     LoraConfig(r=4, lora_alpha=8, target_modules=ALL), 1e-3, 0.0),
    "gemma-plain": (GemmaForCausalLM, GemmaConfig(**TINY | dict(num_key_value_heads=1), head_dim=16),
                    LoraConfig(r=2, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
    "gemma2-softcap": (Gemma2ForCausalLM,
                       Gemma2Config(**TINY, head_dim=16, query_pre_attn_scalar=16, sliding_window=7,
                                    layer_types=LAYERS, attn_logit_softcapping=2.0,
                                    final_logit_softcapping=5.0),
                       LoraConfig(r=2, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
    "gemma3-qknorm": (Gemma3ForCausalLM,
                      Gemma3TextConfig(**TINY, head_dim=16, query_pre_attn_scalar=16, sliding_window=7,
                                       layer_types=LAYERS),
                      LoraConfig(r=2, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
    "phi3-longrope": (Phi3ForCausalLM,
                      Phi3Config(**TINY, original_max_position_embeddings=16, rope_parameters=LONGROPE,
                                 tie_word_embeddings=True),
                      LoraConfig(r=2, lora_alpha=4, target_modules=PHI), 1e-3, 0.0),
    "smollm3-nope": (SmolLM3ForCausalLM, SmolLM3Config(**TINY | dict(num_hidden_layers=5)),
                     LoraConfig(r=2, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
    "granite-multipliers": (GraniteForCausalLM,
                            GraniteConfig(**TINY, tie_word_embeddings=True, embedding_multiplier=12.0,
                                          residual_multiplier=0.22, attention_multiplier=0.125,
                                          logits_scaling=6.0),
                            LoraConfig(r=2, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
    "olmo2-postnorm": (Olmo2ForCausalLM, Olmo2Config(**TINY, tie_word_embeddings=False),
                       LoraConfig(r=2, lora_alpha=4, target_modules=ALL), 1e-3, 0.0),
}


def randomise(model):
    """Norm weights and biases away from 1 and 0, so that leaving one out shows."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_((0 if "Gemma" in type(model).__name__ else 1) + 0.2 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn_like(p))


def trainable(model):
    return {n.replace(".modules_to_save", "").replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}


def make(name, out):
    cls, config, lora, lr, decay = CASES[name]
    V = config.vocab_size
    torch.manual_seed(4321)
    dir_ = os.path.join(out, name)
    shutil.rmtree(dir_, ignore_errors=True)
    config._attn_implementation = "eager"
    base = cls(config)
    randomise(base)
    base.to(torch.bfloat16).save_pretrained(os.path.join(dir_, "model"))
    if V == TINY["vocab_size"]:
        gguf_model.write(os.path.join(dir_, "model.gguf"), config.model_type, base,
                         gguf.GGMLQuantizationType.BF16)

    def fresh():
        return cls.from_pretrained(os.path.join(dir_, "model"), dtype=torch.float32,
                                   attn_implementation="eager").eval()

    ids = torch.randint(3, V, (2, T))
    ids[:, 0] = 1
    if "embed_tokens" in [*lora.target_modules, *(lora.modules_to_save or [])]:
        ids[:, 5] = config.pad_token_id  # whose column of A, or row, has no gradient
    labels = ids.clone()
    labels[0, :7] = -100
    labels[1, :3] = -100
    labels[1, 10:14] = -100
    with open(os.path.join(dir_, "tokens.jsonl"), "w") as f:
        for i in range(2):
            f.write(json.dumps({"input_ids": ids[i].tolist(), "labels": labels[i].tolist()}) + "\n")

    expected = {"input_ids": ids.int(), "labels": labels.int()}
    with torch.no_grad():
        expected["base_logits"] = fresh()(ids).logits
    model = get_peft_model(fresh(), lora)
    with torch.no_grad():
        for n, p in trainable(model).items():
            if "lora_B" in n or "lora_embedding_A" in n:  # what starts at zero
                p.copy_(0.05 * torch.randn_like(p))
    model.save_pretrained(os.path.join(dir_, "adapter-init"))

    def loss_of():
        logits = model(ids).logits
        sums = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, V), labels[:, 1:].reshape(-1), ignore_index=-100,
            reduction="sum")
        return logits, sums / (labels[:, 1:] != -100).sum()

    optimizer = torch.optim.AdamW(list(trainable(model).values()), lr=lr, weight_decay=decay, eps=1e-8)
    losses, norms, lrs = [], [], []
    for step in range(STEPS):
        rate = lr * (step / WARMUP if step < WARMUP else
                     0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits, loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            expected["lora_logits"] = logits.detach()
            for n, p in trainable(model).items():
                expected["grad." + n] = p.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(list(trainable(model).values()), 1.0)
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
        lrs.append(rate)
    model.save_pretrained(os.path.join(dir_, "adapter-trained"))
    with torch.no_grad():
        expected["trained_logits"] = model(ids).logits
    merged = PeftModel.from_pretrained(fresh(), os.path.join(dir_, "adapter-trained")).merge_and_unload()
    for n, p in merged.state_dict().items():
        if "layers.0." in n and n.endswith("proj.weight"):
            expected["merged." + n] = p
    save_file({k: v.contiguous() for k, v in expected.items()},
              os.path.join(dir_, "expected.safetensors"))
    with open(os.path.join(dir_, "expected.json"), "w") as f:
        json.dump({"name": name, "adamw": {"lr": lr, "weight_decay": decay}, "losses": losses,
                   "grad_norms": norms, "lrs": lrs}, f, indent=1)
    for sub in ("adapter-init", "adapter-trained"):
        os.remove(os.path.join(dir_, sub, "README.md"))
        path = os.path.join(dir_, sub, "adapter_config.json")
        with open(path) as f:
            adapter = json.load(f)
        adapter["base_model_name_or_path"] = "../model"
        with open(path, "w") as f:
            json.dump(adapter, f, indent=2, sort_keys=True)


for case in sys.argv[2:] or CASES:
    make(case, sys.argv[1])
