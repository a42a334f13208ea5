#!/usr/bin/env python3
"""What graft writes, loaded by PEFT and transformers: adapters, merged models, tokenizers.

    python3 peft_check.py build/bin/graft [MODEL.gguf] [FAMILY ...]

Needs torch, transformers and peft; not part of the test run. Random models of every family are
trained for some steps with different adapters; the adapter is loaded with PeftModel.from_pretrained
(a warning is an error), the merged folder with AutoModelForCausalLM, and both must give the losses
that `graft eval --per-example` gives, example by example. With a GGUF the same on its chat data, and
its tokenizer as AutoTokenizer reads it: ids of texts and of apply_chat_template. Exit code 1 if
anything differs.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma3TextConfig,
                          GemmaConfig, GraniteConfig, LlamaConfig, MistralConfig, Olmo2Config,
                          Phi3Config, Qwen2Config, Qwen3Config, SmolLM3Config)

# f32 sums in another order: of a token's loss.
LOSS_MAX = 1e-4

SIZES = dict(vocab_size=211, hidden_size=128, intermediate_size=208, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             initializer_range=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64, "rope_theta": 500000.0}
GRANITE = dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.5,
               logits_scaling=2.0)
FAMILIES = {
    "llama": lambda: LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama3-tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=16),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=32),
    "gemma": lambda: GemmaConfig(**SIZES, head_dim=32),
    "gemma2": lambda: Gemma2Config(**SIZES, head_dim=32, query_pre_attn_scalar=24, sliding_window=16),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, head_dim=32, query_pre_attn_scalar=24, sliding_window=16,
                                       layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "gemma-untied": lambda: GemmaConfig(**SIZES, head_dim=32, tie_word_embeddings=False),
    "phi3": lambda: Phi3Config(**SIZES, sliding_window=16),
    "smollm3": lambda: SmolLM3Config(**SIZES),
    "smollm3-untied": lambda: SmolLM3Config(**SIZES, tie_word_embeddings=False),
    "granite": lambda: GraniteConfig(**SIZES, **GRANITE),
    "granite-tied": lambda: GraniteConfig(**SIZES, **GRANITE, tie_word_embeddings=True),
    "olmo2": lambda: Olmo2Config(**SIZES),
}
FUSED = {"v_proj": "o_proj", "q_proj": "qkv_proj", "up_proj": "gate_up_proj"}  # Phi-3's
ADAPTERS = [
    "--lora-r 8",
    "--lora-r 16 --lora-alpha 8 --use-rslora --target-modules q_proj,v_proj",
    "--lora-r 4 --target-modules .*[01].*(up|down)_proj",
    "--lora-r 4 --layers-to-transform 0,2",
    "--lora-r 4 --use-dora",
    "--lora-r 8 --use-dora --use-rslora --target-modules q_proj,v_proj,down_proj",
    "--lora-r 8 --init-lora-weights pissa",
    "--lora-r 4 --init-lora-weights olora --use-rslora --alpha-pattern {\"q_proj\":3}",
    "--lora-r 4 --init-lora-weights pissa --use-dora",
    "--lora-r 4 --target-modules q_proj,embed_tokens,lm_head --rank-pattern {\"lm_head\":8}",
    "--lora-r 4 --target-modules q_proj --modules-to-save embed_tokens,lm_head",
    "--lora-r 4 --target-modules embed_tokens,v_proj --use-rslora",
    "--lora-r 4 --target-modules lm_head,v_proj --lora-alpha 3",
    "--lora-r 4 --rank-pattern {\"q_proj\":6} --alpha-pattern {\"layers.1.mlp.up_proj\":3}",
]
CHAT = [
    [{"role": "user", "content": "How many legs has a spider?"},
     {"role": "assistant", "content": "Eight."}],
    [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "2 + 2?\n\n"},
     {"role": "assistant", "content": "4"}, {"role": "user", "content": "h\u00e9 \u4e16\u754c \U0001f600"},
     {"role": "assistant", "content": "  Hello,  world!\n"}],
]
TEXTS = ["Hello world", " two  spaces\tand\ttabs\n\n", "I'll we've 123456 3.14", "na\u00efve \u4e16\u754c \U0001f600",
         "<|im_start|>user\nx<|im_end|>", "a" * 50, "\u00e9\u0301\u200b x"]

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


def lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def losses(model, examples):
    """Sums of each example's token losses; label 0 is never counted."""
    out = []
    for e in examples:
        labels = torch.tensor(e["labels"])
        with torch.no_grad():
            logits = model(torch.tensor([e["input_ids"]])).logits[0].float()
        out.append(torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100,
                                                     reduction="sum").item())
    return out


def compare(model, examples, each, what):
    worst = 0.0
    for mine, theirs in zip(lines(each), losses(model, examples)):
        worst = max(worst, abs(mine["nll"] - theirs) / mine["trained_tokens"])
    check(worst <= LOSS_MAX, f"{what}: a token's loss is {worst:.3g} off")
    return worst


def load_base(path):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32,
                                                       attn_implementation="eager",
                                                       output_loading_info=True)
    check(not info["missing_keys"] and not info["unexpected_keys"], f"{path}: {info}")
    return model.eval()


def load_adapter(base, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers
        warnings.simplefilter("ignore", DeprecationWarning)
        model = PeftModel.from_pretrained(base, path).eval()
    loaded, stored = get_peft_model_state_dict(model), load_file(f"{path}/adapter_model.safetensors")
    own = {k for k in loaded if ".base_layer." not in k}  # copies of the base's embedding and head
    check(own == stored.keys(), f"{path}: keys")
    check(all(torch.equal(loaded[k], stored[k]) for k in stored), f"{path}: values")
    return model


def round_trip(model, base, tokens, options, what):
    """Trains on `model` for graft, compares on the folder `base` for PEFT (the same weights)."""
    examples = lines(tokens)
    with tempfile.TemporaryDirectory() as d:
        out, merged, each = f"{d}/out", f"{d}/merged", f"{d}/each.jsonl"
        graft("train", "--model", model, "--data", tokens, "--output-dir", out, "--max-steps", 4,
              "--learning-rate", 0.01, *options)
        graft("eval", "--model", model, "--adapter", out, "--data", tokens, "--per-example", each)
        adapted = compare(load_adapter(load_base(base), out), examples, each, f"{what}: adapter")
        if ("lm_head" in "".join(options) or "embed" in "".join(options)) and load_base(base).config.tie_word_embeddings:
            print(f"{what}: adapter {adapted:.2g}")  # merging is refused: one tensor is both
            return
        graft("merge", "--model", model, "--adapter", out, "--output-dir", merged, "--dtype", "f32")
        whole = compare(load_base(merged), examples, each, f"{what}: merged")
        print(f"{what}: adapter {adapted:.2g}, merged {whole:.2g}")
        if os.path.exists(f"{out}/tokenizer.json"):
            check_tokenizer(model, out)
            check_tokenizer(model, merged)


def check_tokenizer(model, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        mine = json.loads(graft("tokenize", "--model", model, f"--text={text}", "--json"))["ids"]
        theirs = tokenizer(text)["input_ids"]
        check(mine == theirs, f"{folder}: {text!r}: {mine}, AutoTokenizer {theirs}")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        for chat in CHAT:
            f.seek(0)
            f.truncate()
            json.dump(chat, f)
            f.flush()
            mine = json.loads(graft("tokenize", "--model", model, "--messages", f.name, "--json"))
            theirs = tokenizer.apply_chat_template(chat, return_dict=False)
            check(mine["ids"] == theirs, f"{folder}: {chat}: {mine['ids']}, {theirs}")


def random_tokens(path, vocab):
    pick = random.Random(7)
    with open(path, "w") as f:
        for n in (40, 3, 17, 64, 25, 31):
            ids = [pick.randrange(3, vocab) for _ in range(n)]
            labels = [i if pick.random() < 0.6 or t == n - 1 else -100 for t, i in enumerate(ids)]
            f.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")


def check_families(scratch):
    tokens = f"{scratch}/tokens.jsonl"
    random_tokens(tokens, SIZES["vocab_size"])
    asked = [name for name in sys.argv[2:] if name in FAMILIES]
    for name in asked or FAMILIES:
        config = FAMILIES[name]
        torch.manual_seed(1)
        base = f"{scratch}/{name}"
        model = AutoModelForCausalLM.from_config(config())
        with torch.no_grad():
            for key, value in model.named_parameters():
                if key.endswith(".bias"):
                    value.normal_(0, 0.1)
                elif "norm" in key:
                    value.add_(0.1 * torch.randn_like(value))
        model.to(torch.bfloat16).save_pretrained(base)
        for options in ADAPTERS:
            if "--modules-to-save" in options and model.config.tie_word_embeddings:
                continue  # refused: one tensor is both
            for old, new in FUSED.items() if name == "phi3" else ():
                options = options.replace(old, new)
            round_trip(base, base, tokens, options.split(), f"{name} {options}")


def check_gguf(path, scratch):
    """The base for PEFT is the GGUF merged with an adapter that is still zero: a rate of zero."""
    chat, zero, base = f"{scratch}/chat.jsonl", f"{scratch}/zero", f"{scratch}/base"
    tokens = f"{scratch}/chat-tokens.jsonl"
    with open(chat, "w") as f:
        for messages in CHAT:
            f.write(json.dumps({"messages": messages}) + "\n")
    with open(tokens, "w") as f:
        for line in graft("tokenize", "--model", path, "--messages", chat, "--json").splitlines():
            e = json.loads(line)
            f.write(json.dumps({"input_ids": e["ids"], "labels": e["labels"]}) + "\n")
    graft("train", "--model", path, "--data", chat, "--output-dir", zero, "--max-steps", 1,
          "--warmup-steps", 1)
    graft("merge", "--model", path, "--adapter", zero, "--output-dir", base, "--dtype", "f32")
    round_trip(path, base, tokens, ["--lora-r", "8", "--learning-rate", "0.001"], path)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    GRAFT = os.path.abspath(sys.argv[1])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        check_families(folder)
        for gguf in sys.argv[2:]:
            if gguf not in FAMILIES:
                check_gguf(gguf, folder)
    print("all equal" if not failures else f"{failures} failed")
    sys.exit(failures > 0)
