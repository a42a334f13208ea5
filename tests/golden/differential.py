#!/usr/bin/env python3
"""Compares graft with PyTorch, transformers and PEFT on random tiny models and settings.

    python3 tests/golden/differential.py build/bin/graft --cases 50 --seed 1

Not part of the test run: it needs torch, transformers 5, peft, safetensors and gguf (written against 2.15,
5.23, 0.21, 0.7, 0.19). Case N of seed S is the same whatever --cases says; --only N runs it alone and
--keep DIR leaves its files. Each case makes a model and an adapter, and compares on a CPU:

  eval      per-example losses and accuracy of the base and of base + adapter
  train     losses, gradient norms, rates and the final adapter of some steps, against a loop of a few lines
  bf16      the same with --precision bf16, losses only
  fresh     which modules get which shapes from options alone; PEFT then loads the adapter
  merge     weights in f32, bf16 and f16 against PEFT's merge, loaded by transformers
  generate  greedy ids, token by token with a cache
  gguf      the same losses from a GGUF file as from a folder with the dequantised weights

Tolerances (see LIMITS) are those of the golden cases for fp32; a bf16 path is held to 1 %. A training beyond
them is made again in f64: it passes if graft is no more than ten times as far from that as PyTorch in f32 is.
Exit code 1: a difference beyond them, or graft refused what it should take."""
import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import types
import warnings

import gguf
import gguf_model
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

FAMILIES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma": "Gemma",
            "gemma2": "Gemma2", "gemma3_text": "Gemma3", "phi3": "Phi3", "smollm3": "SmolLM3",
            "granite": "Granite", "olmo2": "Olmo2"}
GEMMAS = ("gemma", "gemma2", "gemma3_text")
BIASED = ("llama", "qwen3", "smollm3", "granite", "olmo2") + GEMMAS  # attention_bias is a key
TIED = ("smollm3",) + GEMMAS  # unless config.json says otherwise
THETA = {"smollm3": 2e6, "gemma3_text": 1e6}  # class defaults other than 1e4
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# What a measure may reach. Losses are means over an example's or a step's trained tokens.
LIMITS = {
    "eval loss": 2e-6,           # relative above 1: f32 rounding grows with the logits
    "eval accuracy": 0,          # counts, but for ties
    "step 1 loss": 2e-6,
    "losses": 1e-5,
    "step 1 grad norm": 1e-5,    # relative above 1e-3
    "grad norms": 5e-5,          # AdamW makes much of gradients that are zero but for rounding
    "learning rates": 1e-12,
    "adapter": 1e-3,             # |trained - reference| / |reference - init| of a tensor, but for the worst
                                 # thousandth of its elements: where a first gradient is about as large as its
                                 # rounding error, so is what AdamW makes of it to the step
    "bf16 losses": 1e-2,         # relative above 1
    "fresh eval loss": 2e-6,
    "merged f32": 1e-6,
    "merged 16 bit, ulps": 0,    # one rounding of the f32 sum
    "merged DoRA, ulps": 1,      # of an f32 product whose factor has a norm in it
    "greedy ids": 0,             # differing ids where the reference's two best are 1e-4 apart
    "gguf eval loss": 0,         # same arithmetic on the same numbers
    "gguf train loss": 0,
    "gguf hf loss": 2e-6,        # against transformers
}


class Case:
    """One random model, adapter, data set and training recipe."""

    def __init__(self, seed, number, graft, dir_):
        self.rng = random.Random(f"{seed}/{number}")
        torch.manual_seed(self.rng.randrange(2**31))
        self.graft, self.dir = graft, dir_
        self.isa, self.threads = self.rng.choice(["auto", "auto", "avx2", "plain"]), self.rng.randint(1, 3)
        self.worst, self.failures, self.notes = {}, [], {}

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def measure(self, name, value):
        self.worst[name] = max(self.worst.get(name, 0.0), float(value))
        if not value <= LIMITS[name]:
            self.failures.append(f"{name}: {value:.3g}, limit {LIMITS[name]:g}")

    def run(self, *words, ok=True):
        """graft's stdout; a refusal is a failure of the case."""
        if words[0] in ("eval", "train", "generate"):
            words = [*words, "--isa", self.isa, "--threads", self.threads]
        done = subprocess.run([self.graft, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0 and ok:
            raise Refused(f"graft {words[0]}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
        return done.stdout


class Refused(Exception):
    pass


def relative(got, want):
    """Absolute below 1, relative above."""
    return abs(got - want) / max(1.0, abs(want))


# ---- models ---------------------------------------------------------------------------------------------


def config_class(family):
    return getattr(transformers, FAMILIES[family] + ("TextConfig" if family == "gemma3_text" else "Config"))


def model_class(family):
    return getattr(transformers, FAMILIES[family] + "ForCausalLM")


def base_class(family):
    return FAMILIES[family] + ("TextModel" if family == "gemma3_text" else "Model")


def random_longrope(rng, head, max_position):
    """Phi-3's: the short divisors up to `original` tokens, the long ones beyond; a part of a head turns."""
    part = rng.choice([1.0, 0.75, 0.5, 0.25])
    pairs = int(head * part) // 2
    rope = {"rope_type": "default", "rope_theta": rng.choice([1e4, 5e5]), "partial_rotary_factor": part}
    if rng.random() < 0.7:
        rope.update(rope_type="longrope", original_max_position_embeddings=rng.choice([8, 16, max_position]),
                    short_factor=[round(rng.uniform(1, 2), 3) for _ in range(pairs)],
                    long_factor=[round(rng.uniform(1, 9), 3) for _ in range(pairs)])
        if rng.random() < 0.3:
            rope["attention_factor"] = rng.choice([1.0, 1.3])
    return rope


def family_keys(rng, family, head, layers):
    """What only some families have."""
    keys = {}
    if family in ("gemma2", "gemma3_text"):
        keys.update(query_pre_attn_scalar=rng.choice([head, 24, 256]), sliding_window=rng.choice([2, 5, 17, 4096]),
                    attn_logit_softcapping=rng.choice([None, 2.0, 50.0]),
                    final_logit_softcapping=rng.choice([None, 5.0, 30.0]))
        if rng.random() < 0.6:
            keys["layer_types"] = [rng.choice(["sliding_attention", "full_attention"]) for _ in range(layers)]
    if family == "smollm3":
        keys["no_rope_layer_interval"] = rng.choice([2, 4, 4])
        if rng.random() < 0.3:
            keys["no_rope_layers"] = [rng.randint(0, 1) for _ in range(layers)]
        if rng.random() < 0.3:
            keys.update(use_sliding_window=True, sliding_window=rng.choice([3, 9]))
    if family == "granite":
        keys.update(embedding_multiplier=rng.choice([1.0, 12.0]), residual_multiplier=rng.choice([1.0, 0.22, 0.7]),
                    attention_multiplier=rng.choice([1.0, 0.125, head**-0.5]), logits_scaling=rng.choice([1.0, 6.0, 8]))
    return keys


def random_rope(rng, max_position, kinds=("default", "default", "linear", "dynamic", "llama3", "yarn", "yarn")):
    kind = rng.choice(kinds)
    rope = {"rope_type": kind, "rope_theta": rng.choice([1e4, 5e5, 1e6, 150.0])}
    if kind in ("linear", "dynamic", "yarn"):
        rope["factor"] = rng.choice([2.0, 4.0, 1.5, 8.0])
    if kind == "llama3":
        rope.update(factor=rng.choice([8.0, 32.0]), low_freq_factor=1.0, high_freq_factor=4.0,
                    original_max_position_embeddings=max_position // 2)
    if kind == "yarn":
        rope["original_max_position_embeddings"] = rng.choice([max_position, max_position // 2])
        for key, values in (("attention_factor", [1.0, 0.7, 1.3]), ("beta_fast", [32.0, 16.0, 4.0]),
                            ("beta_slow", [1.0, 0.5, 2.0]), ("truncate", [True, False])):
            if rng.random() < 0.35:
                rope[key] = rng.choice(values)
        if rng.random() < 0.4:
            rope["mscale"] = rng.choice([1.0, 0.707])
            if rng.random() < 0.7:
                rope["mscale_all_dim"] = rng.choice([1.0, 0.5])
    return rope


def random_sizes(rng, family):
    """Heads, groups, head width, width, FFN width: odd ones too."""
    groups = rng.choice([1, 1, 2, 3])
    heads = groups * rng.choice([1, 1, 2, 3, 4])
    head = rng.choice([8, 8, 16, 16, 24, 40, 64, 136])
    if rng.random() < 0.05:
        head = rng.choice([4, 10, 12, 18])  # to be refused
    step = rng.choice([1, 2, 4, 8, 8])
    hidden = max(4, step * rng.randint(1, 64 // step))
    hidden = -(-hidden // heads) * heads  # transformers wants it so, although head_dim is given
    ffn = rng.choice([rng.randint(3, 90), 8 * rng.randint(1, 11)])
    return heads, groups, head, heads * head if family in ("qwen2", "phi3") else hidden, ffn


def block_sizes(rng, family, block):
    """The same in whole blocks of a quantisation."""
    while True:
        groups = rng.choice([1, 2, 3])
        heads, head = groups * rng.choice([1, 2, 4]), rng.choice([8, 16, 24, 32, 64, 128])
        hidden = block * rng.randint(1, max(1, 96 // block))
        hidden = heads * head if family in ("qwen2", "phi3") else hidden
        if hidden % heads == 0 and hidden % block == 0 and heads * head % block == 0:
            return heads, groups, head, hidden, block * rng.randint(1, max(1, 96 // block))


def random_config(rng, block=None):
    family = rng.choice(list(FAMILIES))
    heads, groups, head, hidden, ffn = block_sizes(rng, family, block) if block else random_sizes(rng, family)
    max_position = rng.choice([16, 32, 64])
    layers = rng.randint(1, 7 if family in ("gemma3_text", "smollm3") else 4)
    if family == "phi3":
        rope = random_longrope(rng, head, max_position)
    elif family == "gemma3_text":
        rope = {"full_attention": random_rope(rng, max_position, ["default", "linear", "yarn", "llama3"]),
                "sliding_attention": {"rope_type": "default", "rope_theta": rng.choice([1e4, 777.0])}}
    else:
        rope = random_rope(rng, max_position)
    keys = dict(
        vocab_size=rng.choice([97, 128, 131, 300, 521]), hidden_size=hidden, intermediate_size=ffn,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=groups,
        max_position_embeddings=max_position, initializer_range=min(0.1, 0.8 / max(hidden, heads * head) ** 0.5),
        rms_norm_eps=rng.choice([1e-6, 1e-5]), bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=rng.random() < 0.5, rope_parameters=rope)
    if family not in ("qwen2", "phi3"):
        keys["head_dim"] = head
    keys.update(family_keys(rng, family, head, layers))
    if family == "phi3":
        keys["original_max_position_embeddings"] = rope.get("original_max_position_embeddings", 4096)
    if family in BIASED:
        keys["attention_bias"] = rng.random() < 0.4
    if family in ("llama", "smollm3", "granite"):
        keys["mlp_bias"] = rng.random() < 0.4
    if family in ("mistral", "phi3"):
        keys["sliding_window"] = rng.choice([None, 1, 5, 17, 4096])
    if family.startswith("qwen") and rng.random() < 0.5:
        keys.update(use_sliding_window=True, sliding_window=rng.choice([3, 9, 40]),
                    max_window_layers=rng.randint(0, keys["num_hidden_layers"]))
    return family, config_class(family)(**keys)


head_width = gguf_model.head_width


def randomise(model):
    """Norm weights and biases away from 1 (Gemma: 0) and 0, so that leaving one out shows."""
    neutral = 0 if "Gemma" in type(model).__name__ else 1
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(neutral + 0.2 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn_like(p))


def old_spelling(config, family):
    """config.json as transformers 4 wrote it."""
    rope = config.pop("rope_parameters")
    if family == "gemma3_text":
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if rope["rope_type"] != "default":
        config["rope_scaling"] = rope
        if rope["rope_type"] in ("linear", "dynamic", "longrope") and family != "gemma3_text":
            rope["type"] = rope.pop("rope_type")  # as before 4.43
    config["torch_dtype"] = config.pop("dtype")
    usual = config_class(family)(**{k: config[k] for k in ("num_hidden_layers", "no_rope_layers", "sliding_window",
                                    "use_sliding_window", "max_window_layers") if k in config})
    if config.get("layer_types") == getattr(usual, "layer_types", None):
        config.pop("layer_types", None)


def leave_out(rng, config, family):
    """Keys that say what is so without them; and stray ones, of which transformers has its opinion."""
    if family in ("llama", "phi3", "granite", "olmo2") and \
            config["num_key_value_heads"] == config["num_attention_heads"]:
        del config["num_key_value_heads"]
    if family not in ("qwen3",) + GEMMAS and \
            config["hidden_size"] == config["num_attention_heads"] * config.get("head_dim", 0):
        if rng.random() < 0.5 and family in ("llama", "mistral"):
            config["head_dim"] = None
        else:
            del config["head_dim"]
    if config["tie_word_embeddings"] == (family in TIED):
        config.pop("tie_word_embeddings")
    if config["rms_norm_eps"] == (1e-5 if family in ("phi3", "olmo2") else 1e-6):
        del config["rms_norm_eps"]
    config["eos_token_id"] = rng.choice([2, [2], [2, 2]])
    if "rope_parameters" in config:
        config["rope_theta"] = 777.0
        if rng.random() < 0.5:
            config["rope_scaling"] = None
    else:
        config.setdefault("rope_scaling", None)
        if config["rope_scaling"] is None and family not in ("phi3", "gemma3_text"):
            config["rope_scaling"] = rng.choice([None, {"type": "default"}])
        if config["rope_theta"] == THETA.get(family, 1e4):
            del config["rope_theta"]


def write_tokenizer(dir_, vocab):
    """A tokenizer in which the text <17> is token 17: prompts of any ids."""
    names = {f"<{i}>": i for i in range(vocab)}
    added = [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": False} for name, i in names.items()]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
                 "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                                                       "trim_offsets": True, "use_regex": True},
                 "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                                                     "trim_offsets": True, "use_regex": True},
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                           "ignore_merges": False, "vocab": names, "merges": []}}
    with open(os.path.join(dir_, "tokenizer.json"), "w") as f:
        json.dump(tokenizer, f)


def make_model(case):
    """CASE/model: a folder in one of the ways in which such folders are written."""
    rng = case.rng
    family, config = random_config(rng)
    dtype = rng.choice(list(DTYPES))
    config._attn_implementation = "eager"
    model = model_class(family)(config)
    randomise(model)
    dir_ = case.path("model")
    shards = rng.random() < 0.3
    model.to(DTYPES[dtype]).save_pretrained(dir_, max_shard_size="30KB" if shards else "5GB")
    path = os.path.join(dir_, "config.json")
    with open(path) as f:
        written = json.load(f)
    bare = config.tie_word_embeddings and not shards and rng.random() < 0.3
    if bare:  # as the class without a head saves it
        file = os.path.join(dir_, "model.safetensors")
        save_file({k.removeprefix("model."): v for k, v in load_file(file).items()}, file, {"format": "pt"})
        written["architectures"] = [base_class(family)]
    old = rng.random() < 0.5
    if old:
        old_spelling(written, family)
    sparse = rng.random() < 0.4
    if sparse:
        leave_out(rng, written, family)
    with open(path, "w") as f:
        json.dump(written, f, indent=2, sort_keys=True)
    write_tokenizer(dir_, config.vocab_size)
    case.family, case.config = family, config
    case.notes.update(family=family, dtype=dtype, bare=bare, shards=shards, old=old, sparse=sparse,
                      rope=kind_of_rope(config), D=config.hidden_size, F=config.intermediate_size,
                      H=config.num_attention_heads, G=config.num_key_value_heads,
                      K=head_width(config), L=config.num_hidden_layers)


def kind_of_rope(c):
    return c.rope_parameters.get("full_attention", c.rope_parameters)["rope_type"]


def reference(case, dir_="model", dtype=torch.float32, attention="eager"):
    return model_class(case.family).from_pretrained(case.path(dir_), dtype=dtype, attn_implementation=attention).eval()


def exact_norm(norm, x):
    eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
    weight = norm.weight + ("Gemma" in type(norm).__name__)
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def in_double(case):
    """The adapted model in f64 but for the RoPE tables: the judge where two f32 paths differ."""
    capped = getattr(case.config, "attn_logit_softcapping", None)  # which is eager's alone
    model = PeftModel.from_pretrained(reference(case, attention="eager" if capped else "sdpa"), case.path("adapter"),
                                      is_trainable=True).eval().double()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(exact_norm, module)
    return model


def logits_of(model, ids):
    """[T,V] of one example alone. Dynamic RoPE remembers the longest sequence seen: forget it first."""
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.inv_freq = module.original_inv_freq
            module.max_seq_len_cached = module.original_max_seq_len
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def example_loss(model, example):
    """Sum of token losses, trained tokens, right ones."""
    logits = logits_of(model, example["input_ids"])[:-1]
    labels = torch.tensor(example["labels"][1:])
    nll = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    kept = labels != -100
    return nll, int(kept.sum()), int((logits.argmax(-1) == labels)[kept].sum())


# ---- data -----------------------------------------------------------------------------------------------


def random_examples(rng, vocab, count, longest):
    examples = []
    for _ in range(count):
        n = rng.choice([2, 3, rng.randint(2, 12), rng.randint(2, longest), longest])
        ids = [rng.randrange(vocab) for _ in range(n)]
        labels = list(ids) if rng.random() < 0.8 else [rng.randrange(vocab) for _ in range(n)]
        keep = rng.choice([1.0, 0.6, 0.1])
        labels = [x if rng.random() < keep else -100 for x in labels]
        labels[rng.randrange(1, n)] = rng.randrange(vocab)
        examples.append({"input_ids": ids, "labels": labels})
    return examples


def write_lines(path, objects):
    with open(path, "w") as f:
        for o in objects:
            f.write(json.dumps(o) + "\n")


def read_lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


# ---- adapters -------------------------------------------------------------------------------------------


def random_lora(rng, layers, linear):
    """PEFT's config as keywords, and the same as options of graft."""
    fused = linear is FUSED
    r = rng.choice([1, 2, 3, 4, 5, 8, 8, 16, 33, 64])
    alpha = rng.choice([1, 4, 8, 16, 2.5])
    keys = dict(r=r, lora_alpha=alpha, use_rslora=rng.random() < 0.3)
    options = ["--lora-r", r, "--lora-alpha", alpha] + (["--use-rslora"] if keys["use_rslora"] else [])
    if rng.random() < 0.3:
        keys["use_dora"] = True
        options += ["--use-dora"]
    kind = rng.choice(["all", "list", "list", "regex", "all-linear", "mlp", "q"])
    if kind == "regex":
        layer = rng.randrange(layers)
        targets = rng.choice([rf".*layers\.{layer}\..*(q|v|down)_proj", r".*\.mlp\..*_proj", r".*self_attn\.[qo]_proj",
                              rf"model\.layers\.({layer}|{layers - 1})\.(self_attn|mlp)\.(k|up|qkv|gate_up)_proj"])
    elif kind == "all-linear":
        targets = "all-linear"
    elif kind == "mlp":
        targets = linear[2:] if fused else linear[4:]
    elif kind == "q":
        targets = linear[:1]
    else:
        targets = list(linear) if kind == "all" else rng.sample(linear, rng.randint(1, len(linear) - 1))
    if isinstance(targets, list) and "use_dora" not in keys and rng.random() < 0.3:  # refused together
        targets = targets + rng.choice([["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
    keys["target_modules"] = targets
    options += ["--target-modules", targets if isinstance(targets, str) else ",".join(targets)]
    if isinstance(targets, list) and rng.random() < 0.35:
        chosen = rng.sample(range(layers), rng.randint(1, layers))
        keys["layers_to_transform"] = chosen
        options += ["--layers-to-transform", ",".join(map(str, chosen))]
    if isinstance(targets, list) and len(targets) > 3 and rng.random() < 0.3:
        out = rng.choice([[targets[0]], r".*\." + targets[1]])
        keys["exclude_modules"] = out
        options += ["--exclude-modules", out if isinstance(out, str) else ",".join(out)]
    for name, values in (("rank", [1, 3, 12]), ("alpha", [1, 7, 32])):
        if rng.random() < 0.3:
            pattern = {rng.choice(linear): rng.choice(values), rng.choice([r"layers\.0\..*", "self_attn.v_proj"]):
                       rng.choice(values)}
            keys[name + "_pattern"] = pattern
            options += [f"--{name}-pattern", json.dumps(pattern)]
    return keys, options


def trainable(model):
    """By the names that they have in an adapter's file."""
    return {n.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector"): p
            for n, p in model.named_parameters() if p.requires_grad}


def make_adapter(case):
    """CASE/adapter: A and B not zero; PEFT's file in f32, f16 or bf16."""
    rng = case.rng
    keys, case.lora_options = random_lora(rng, case.config.num_hidden_layers,
                                               FUSED if case.family == "phi3" else LINEAR)
    case.lora_keys = keys
    model = get_peft_model(reference(case), LoraConfig(**keys, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for n, p in trainable(model).items():
            if "lora_B" in n or "lora_embedding_A" in n:
                p.copy_(0.05 * torch.randn_like(p))
            elif "magnitude" in n:
                p.mul_(1 + 0.1 * torch.randn_like(p))
    case.shapes = {n: tuple(p.shape) for n, p in trainable(model).items()}
    model.save_pretrained(case.path("adapter"))
    path = case.path("adapter", "adapter_config.json")
    with open(path) as f:
        written = json.load(f)
    for name in ("rank_pattern", "alpha_pattern"):  # the first match counts, but peft 0.21 sorts as it saves
        written[name] = keys.get(name, {})
    with open(path, "w") as f:
        json.dump(written, f, indent=2)
    file = case.path("adapter", "adapter_model.safetensors")
    dtype = rng.choice(["float32", "float32", "float16", "bfloat16"])
    save_file({k: v if ".base_layer." in k else v.to(DTYPES[dtype]) for k, v in load_file(file).items()}, file,
              {"format": "pt"})  # PEFT puts copies of an adapted embedding and head in the base's place
    case.notes.update(adapter=dtype, r=keys["r"], targets=keys["target_modules"], dora="use_dora" in keys)


def adapted(case, dir_="adapter", base="model", train=False):
    return PeftModel.from_pretrained(reference(case, base), case.path(dir_), is_trainable=train).eval()


# ---- the comparisons ------------------------------------------------------------------------------------


def check_eval(case, model, examples, extra, measure="eval loss"):
    data, out = case.path("eval.jsonl"), case.path("per-example.jsonl")
    write_lines(data, examples)
    total = json.loads(case.run("eval", "--data", data, "--json", "--per-example", out, *extra))
    right = trained = ties = 0
    for example, line in zip(examples, read_lines(out), strict=True):
        with torch.no_grad():
            nll, n, good = example_loss(model, example)
            best = logits_of(model, example["input_ids"]).topk(2).values
        ties += int((best[:, 0] - best[:, 1] < 1e-4).sum())
        assert line["trained_tokens"] == n, (line, n)
        case.measure(measure, relative(line["nll"] / n, nll.item() / n))
        right, trained = right + good, trained + n
    if measure == "eval loss":
        off = abs(round(total["accuracy"] * trained) - right)
        case.measure("eval accuracy", max(0, off - ties))
    return [line["nll"] / line["trained_tokens"] for line in read_lines(out)]


def rate_at(kind, lr, step, total, warmup):
    """step counts from 0 (FORMATS 12.3)."""
    if kind == "constant":
        return lr
    if step < warmup:
        return lr * step / max(1, warmup)
    if kind == "constant_with_warmup":
        return lr
    left = (total - step) / max(1, total - warmup)
    return lr * (left if kind == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left))))


def random_recipe(rng):
    batch, count, epochs = rng.randint(1, 5), rng.randint(5, 11), rng.randint(1, 3)
    per_epoch = -(-count // batch)
    epochs = max(1, min(epochs, 12 // per_epoch))
    total = epochs * per_epoch
    o = dict(batch=batch, count=count, total=total, lr=rng.choice([1e-3, 3e-3, 2e-4]),
             decay=rng.choice([0, 0, 0.1, 1.0]), clip=rng.choice([0, 1.0, 0.3]),
             beta1=rng.choice([0.9, 0.9, 0.8]), beta2=rng.choice([0.999, 0.95]), eps=rng.choice([1e-8, 1e-6]),
             kind=rng.choice(["linear", "cosine", "constant", "constant_with_warmup"]))
    words = ["--batch-size", batch, "--learning-rate", o["lr"], "--weight-decay", o["decay"],
             "--max-grad-norm", o["clip"], "--adam-beta1", o["beta1"], "--adam-beta2", o["beta2"],
             "--adam-epsilon", o["eps"], "--lr-scheduler-type", o["kind"], "--no-shuffle"]
    o["warmup"] = 0
    if o["kind"] != "constant":
        how = rng.choice(["none", "steps", "ratio"])
        if how == "steps":
            o["warmup"] = rng.randint(0, total)
            words += ["--warmup-steps", o["warmup"]]
        elif how == "ratio":
            ratio = rng.choice([0.1, 0.25, 0.5])
            o["warmup"] = math.ceil(total * ratio)
            words += ["--warmup-ratio", ratio]
    if rng.random() < 0.5:
        words += ["--num-train-epochs", epochs]
    else:
        o["total"] = max(1, total - rng.randint(0, 2))
        words += ["--max-steps", o["total"]]
        if "--warmup-ratio" in words:
            o["warmup"] = math.ceil(o["total"] * words[words.index("--warmup-ratio") + 1])
        elif "--warmup-steps" in words:
            o["warmup"] = words[words.index("--warmup-steps") + 1] = min(o["warmup"], o["total"])
    return o, words


def reference_training(model, examples, o, autocast=False):
    """Losses, gradient norms and rates; the model is trained in place."""
    params = list(trainable(model).values())
    optimizer = torch.optim.AdamW(params, lr=1.0, betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                                  weight_decay=o["decay"])
    losses, norms, rates = [], [], []
    per_epoch = -(-len(examples) // o["batch"])
    for step in range(o["total"]):
        first = step % per_epoch * o["batch"]
        rates.append(rate_at(o["kind"], o["lr"], step, o["total"], o["warmup"]))
        optimizer.param_groups[0]["lr"] = rates[-1]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            sums = [example_loss(model, e)[:2] for e in examples[first:first + o["batch"]]]
        loss = sum(s for s, _ in sums) / sum(n for _, n in sums)
        loss.backward()
        limit = o["clip"] or math.inf
        norms.append(torch.nn.utils.clip_grad_norm_(params, limit).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, rates


def adapter_tensors(dir_):
    return {k: v.float() for k, v in load_file(os.path.join(dir_, "adapter_model.safetensors")).items()
            if ".base_layer." not in k}


def training_gaps(got, want, init):
    """The worst differences of two trainings (losses, norms, tensors) by name of the measure."""
    losses = [relative(a, b) for a, b in zip(got[0], want[0])]
    norms = [abs(a - b) / max(b, 1e-3) for a, b in zip(got[1], want[1])]
    gaps = {"step 1 loss": losses[0], "losses": max(losses), "adapter": 0,
            "step 1 grad norm": norms[0], "grad norms": max(norms)}
    for n, w in want[2].items():
        moved = (w - init[n]).norm().item()
        if moved > 0:
            off = (got[2][n] - w).abs().flatten().sort().values
            off = off[:-1 - off.numel() // 1000]
            gaps["adapter"] = max(gaps["adapter"], off.norm().item() / moved)
    return gaps


def check_train(case):
    o, words = random_recipe(case.rng)
    longest = case.rng.choice([70] * 7 + [700])  # 512 tokens are a chunk of the gradient's sum
    examples = random_examples(case.rng, case.config.vocab_size, o["count"], longest)
    words += case.rng.choice([[], ["--row-tokens", longest], ["--row-tokens", 2 * longest]])
    data = case.path("train.jsonl")
    write_lines(data, examples)
    case.notes.update(isa=case.isa, longest=longest, **{k: o[k] for k in ("batch", "total", "kind", "warmup", "clip", "decay")})
    common = ["--model", case.path("model"), "--data", data, "--init-adapter", case.path("adapter"), *words]
    case.run("train", *common, "--output-dir", case.path("trained"))
    model = adapted(case, train=True)
    losses, norms, rates = reference_training(model, examples, o)
    steps = [x for x in read_lines(case.path("trained", "metrics.jsonl")) if "loss" in x]
    assert len(steps) == o["total"], (len(steps), o["total"])
    for i, step in enumerate(steps):
        case.measure("learning rates", abs(step["learning_rate"] - rates[i]))
    init = adapter_tensors(case.path("adapter"))
    got = ([s["loss"] for s in steps], [s["grad_norm"] for s in steps], adapter_tensors(case.path("trained")))
    want = (losses, norms, {n: p.detach() for n, p in trainable(model).items()})
    assert set(got[2]) == set(want[2]), set(got[2]) ^ set(want[2])
    gaps = training_gaps(got, want, init)
    if any(gap > LIMITS[name] for name, gap in gaps.items()):
        model = in_double(case)
        losses, norms, _ = reference_training(model, examples, o)
        exact = (losses, norms, {n: p.detach() for n, p in trainable(model).items()})
        ours, theirs = training_gaps(got, exact, init), training_gaps(want, exact, init)
        case.notes["to f64"] = {n: [ours[n], theirs[n]] for n in gaps if gaps[n] > LIMITS[n]}
        gaps = {n: 0 if ours[n] <= 10 * theirs[n] else ours[n] for n in gaps}
    for name, gap in gaps.items():
        case.measure(name, gap)
    if case.rng.random() < 0.5:
        check_bf16(case, common, examples, o, losses)


def check_bf16(case, common, examples, o, losses):
    case.run("train", *common, "--precision", "bf16", "--output-dir", case.path("trained-bf16"))
    steps = [x for x in read_lines(case.path("trained-bf16", "metrics.jsonl")) if "loss" in x]
    model = adapted(case, train=True)
    for module in model.modules():  # frozen weights in bf16, adapter and its optimizer in f32
        if isinstance(module, torch.nn.Linear) and not any(p.requires_grad for p in module.parameters()):
            module.weight.data = module.weight.data.bfloat16().float()
    torch_losses = reference_training(model, examples, o, autocast=True)[0]
    gaps = [relative(s["loss"], x) for s, x in zip(steps, losses)]
    case.measure("bf16 losses", max(gaps))
    case.notes["bf16 mean gap"] = sum(gaps) / len(gaps)
    case.notes["torch autocast mean gap"] = sum(relative(a, b) for a, b in zip(torch_losses, losses)) / len(gaps)


def check_fresh(case):
    """An adapter from options alone."""
    out = case.path("fresh")
    case.run("train", "--model", case.path("model"), "--data", case.path("train.jsonl"), *case.lora_options,
             "--max-steps", 2, "--learning-rate", 1e-2, "--output-dir", out)
    shapes = {k: tuple(v.shape) for k, v in adapter_tensors(out).items()}
    if shapes != case.shapes:
        case.failures.append(f"fresh: modules or shapes differ: {set(shapes.items()) ^ set(case.shapes.items())}")
        return
    examples = random_examples(case.rng, case.config.vocab_size, 3, 40)
    check_eval(case, adapted(case, "fresh"), examples, ["--model", case.path("model"), "--adapter", out],
               "fresh eval loss")


def ulps(got, want):
    """Distance in representable numbers of the 16-bit type."""
    def order(t):
        bits = t.contiguous().view(torch.int16).int()
        return torch.where(bits < 0, -32768 - bits, bits)
    return (order(got) - order(want)).abs()


def check_tied(case):
    """One tensor is embedding and head: it cannot hold an adapter of one of them."""
    done = subprocess.run([case.graft, "merge", "--model", case.path("model"), "--adapter", case.path("trained"),
                           "--output-dir", case.path("merged")], capture_output=True, text=True)
    if done.returncode != 2 or os.path.exists(case.path("merged")):
        case.failures.append(f"graft merge, tied: exit {done.returncode}: {done.stderr.strip()}")


def check_merge(case):
    if case.config.tie_word_embeddings and any("embed_tokens" in n or "lm_head" in n for n in case.shapes):
        return check_tied(case)
    merged = adapted(case, "trained").merge_and_unload().state_dict()
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16), ("f16", torch.float16)):
        out = case.path("merged-" + name)
        case.run("merge", "--model", case.path("model"), "--adapter", case.path("trained"), "--dtype", name,
                 "--output-dir", out)
        got = reference(case, "merged-" + name, dtype)
        assert got.config.dtype == dtype, got.config.dtype
        for n, g in got.state_dict().items():
            if name == "f32":
                case.measure("merged f32", (g - merged[n]).abs().max().item())
                merged[n] = g
            else:
                case.measure("merged DoRA, ulps" if case.notes["dora"] else "merged 16 bit, ulps",
                             ulps(g, merged[n].to(dtype)).max().item())


def greedy(model, prompt, count):
    """Ids and, for each new one, whether it is beyond doubt; fed to a cache one by one."""
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.inv_freq = module.original_inv_freq
            module.max_seq_len_cached = module.original_max_seq_len
    ids, sure, cache, feed = list(prompt), [], None, prompt
    with torch.no_grad():
        for _ in range(count):
            out = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            best = out.logits[0, -1].topk(2)
            sure.append((best.values[0] - best.values[1]).item() > 1e-4)
            ids.append(best.indices[0].item())
            feed = ids[-1:]
            rope = model.config.rope_parameters
            if rope.get("rope_type") == "longrope" and len(ids) == rope["original_max_position_embeddings"] + 1:
                feed, cache = ids, None  # as Phi-3's generate() does it
            if getattr(model.config, "sliding_window", None) == 1:  # whose cache in transformers 5.23 keeps all
                feed, cache = ids, None
            if ids[-1] == 2:
                break
    return ids, sure


def check_generate(case):
    n = case.rng.choice([1, 3, case.rng.randint(1, 50), case.rng.randint(1, 50), 560])  # 560: fed in pieces
    prompt = [case.rng.randrange(3, case.config.vocab_size) for _ in range(n)]
    text = "".join(f"<{i}>" for i in prompt)
    count = case.rng.randint(4, 40)
    got = json.loads(case.run("generate", "--model", case.path("model"), "--adapter", case.path("adapter"),
                              "--prompt", text, "--max-new-tokens", count, "--json"))["ids"]
    want, sure = greedy(adapted(case), prompt, count)
    wrong = 0
    for i in range(max(len(got), len(want))):
        if i >= min(len(got), len(want)) or got[i] != want[i]:
            wrong = 1 if i < n or sure[min(i - n, len(sure) - 1)] else 0
            break
    if wrong:
        case.failures.append(f"generate: {got[n:]} want {want[n:]}")
    case.measure("greedy ids", wrong)


# ---- GGUF -----------------------------------------------------------------------------------------------

QUANTS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def random_gguf_config(rng):
    """A model for which GGUF has keys."""
    while True:
        family, config = random_config(rng, block=32)
        rope = config.rope_parameters.get("full_attention", config.rope_parameters)
        if rope["rope_type"] == "yarn":
            for key in set(rope) - {"rope_type", "rope_theta", "factor", "original_max_position_embeddings"}:
                del rope[key]
        if family in ("gemma2", "gemma3_text"):
            config.query_pre_attn_scalar = head_width(config)  # which llama.cpp takes by the model's size
        if family in GEMMAS:
            config.tie_word_embeddings = True  # llama.cpp knows no other
        if family == "smollm3" and (config.no_rope_layer_interval != 4 or config.use_sliding_window or
                                    config.no_rope_layers != [int(i % 4 != 3) for i in range(len(config.no_rope_layers))]):
            continue
        if rope["rope_type"] in ("linear", "default", "yarn", "longrope"):
            return family, config
        if rope["rope_type"] == "llama3" and family in ("llama", "granite", "smollm3"):
            return family, config


def make_gguf(case):
    """CASE/base.gguf and CASE/dequantised, a folder with the same numbers."""
    rng = case.rng
    quant = rng.choice(QUANTS)
    family, config = random_gguf_config(rng)
    if family.startswith("qwen"):
        config.use_sliding_window, config.sliding_window = False, None
        config.layer_types = ["full_attention"] * config.num_hidden_layers
    case.family, case.config = family, config
    config._attn_implementation = "eager"
    model = model_class(family)(config)
    randomise(model)
    held = gguf_model.write(case.path("base.gguf"), family, model, gguf.GGMLQuantizationType[quant])
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in held:
                p.copy_(held[name])
    model.save_pretrained(case.path("dequantised"))
    case.notes.update(gguf=quant, family=family, rope=kind_of_rope(config))


def check_gguf(case):
    make_gguf(case)
    # divisors and attention's factor are rounded once more; so are Granite's multipliers and theta
    scaled = kind_of_rope(case.config) in ("llama3", "longrope") or case.family == "granite"
    examples = random_examples(case.rng, case.config.vocab_size, 5, 60)
    model = reference(case, "dequantised")
    folder = check_eval(case, model, examples, ["--model", case.path("dequantised")])
    file = check_eval(case, model, examples, ["--model", case.path("base.gguf")], "gguf hf loss")
    case.measure("gguf hf loss" if scaled else "gguf eval loss", max(map(relative, file, folder)))
    data = case.path("train.jsonl")
    write_lines(data, examples)
    bf16 = [json.loads(case.run("eval", "--model", case.path(base), "--data", case.path("eval.jsonl"),
                                "--precision", "bf16", "--json"))["loss"] for base in ("dequantised", "base.gguf")]
    case.measure("bf16 losses", abs(bf16[0] - bf16[1]))  # an f32 embedding is held in bf16, others as they are
    losses = []
    for i, base in enumerate(("dequantised", "base.gguf")):
        case.run("train", "--model", case.path(base), "--data", data, "--output-dir", case.path(f"out{i}"),
                 "--batch-size", 3, "--num-train-epochs", 2, "--lora-r", 4, "--learning-rate", 1e-2)
        losses.append([x["loss"] for x in read_lines(case.path(f"out{i}", "metrics.jsonl"))])
    case.measure("losses" if scaled else "gguf train loss", max(map(relative, *losses)))
    check_convert(case, model, examples, folder)
    case.run("merge", "--model", case.path("base.gguf"), "--adapter", case.path("out1"), "--dtype", "f32",
             "--output-dir", case.path("merged"))
    check_eval(case, reference(case, "merged"), examples,
               ["--model", case.path("base.gguf"), "--adapter", case.path("out1")], "gguf hf loss")


def check_convert(case, model, examples, folder):
    """As a GGUF of f32, from the folder and from the GGUF: the same model."""
    write_tokenizer(case.path("dequantised"), case.config.vocab_size)
    for i, base in enumerate(("dequantised", "base.gguf")):
        made = case.path(f"converted{i}.gguf")
        if case.family == "gemma2" and base == "dequantised" and None in (
                case.config.attn_logit_softcapping, case.config.final_logit_softcapping):
            continue  # llama.cpp has no Gemma 2 without caps
        case.run("convert", "--model", case.path(base), "--dtype", "f32", "--output", made)
        got = check_eval(case, model, examples, ["--model", made], "gguf hf loss")
        case.measure("gguf hf loss", max(map(relative, got, folder)))


def check_refused(case, examples):
    """Head widths that graft's attention does not take: one line that says so."""
    write_lines(case.path("eval.jsonl"), examples)
    for words in (["eval", "--data", case.path("eval.jsonl")], ["plan"]):
        done = subprocess.run([case.graft, *words, "--model", case.path("model")], capture_output=True, text=True)
        if done.returncode != 2 or "config.json" not in done.stderr or not any(
                word in done.stderr for word in ("wide", "partial_rotary_factor")):
            case.failures.append(f"graft {words[0]}: exit {done.returncode}: {done.stderr.strip()}")


def check_folder(case):
    make_model(case)
    make_adapter(case)
    examples = random_examples(case.rng, case.config.vocab_size, 5, 70)
    base = ["--model", case.path("model")]
    if head_width(case.config) % 8:
        return check_refused(case, examples)
    check_eval(case, reference(case), examples, base)
    check_eval(case, adapted(case), examples, base + ["--adapter", case.path("adapter")])
    check_train(case)
    check_fresh(case)
    check_merge(case)
    check_generate(case)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("graft")
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--keep", help="folder for the cases' files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    worst, bad, gaps = {}, 0, []
    root = args.keep or tempfile.mkdtemp(prefix="differential-")
    for number in [args.only] if args.only is not None else range(args.cases):
        dir_ = os.path.join(root, str(number))
        shutil.rmtree(dir_, ignore_errors=True)
        os.makedirs(dir_)
        case = Case(args.seed, number, os.path.abspath(args.graft), dir_)
        try:
            (check_gguf if number % 4 == 3 else check_folder)(case)
        except Refused as e:
            case.failures.append(str(e))
        for name, value in case.worst.items():
            worst[name] = max(worst.get(name, (0.0, number)), (value, number))
        if "bf16 mean gap" in case.notes:
            gaps.append((case.notes["bf16 mean gap"], case.notes["torch autocast mean gap"]))
        bad += bool(case.failures)
        print(f"{number}: {'FAIL' if case.failures else 'ok'}", json.dumps(case.notes), flush=True)
        for line in dict.fromkeys(case.failures):
            print("    " + line, flush=True)
        if not args.keep:
            shutil.rmtree(dir_)
    for name, (value, number) in worst.items():
        print(f"{name:22} worst {value:9.3g} (case {number}), limit {LIMITS[name]:g}")
    if gaps:
        print(f"bf16, mean gap to fp32 of {len(gaps)} runs: graft {sum(g for g, _ in gaps) / len(gaps):.3g}, "
              f"torch autocast {sum(t for _, t in gaps) / len(gaps):.3g}")
    print(f"{bad} failed")
    sys.exit(1 if bad else 0)


main()
