#!/usr/bin/env python3
"""Compares graft --device cuda with graft --device cpu on random tiny models and settings.

    tools/on-test-device.sh python3 tests/golden/device_differential.py build/bin/graft --cases 40 --seed 1

Not part of the test run: it needs numpy and, for GGUF bases, gguf (written against 2.4 and 0.19), and no
PyTorch. Case N of seed S is the same whatever --cases says; --only N runs it alone, --keep DIR leaves its
files. Each case makes a model, trains an adapter on either device, and compares:

  train     losses and gradient norms in fp32; the same in bf16, within what its roundings explain
  rows      other --row-tokens on the device: the same adapter, byte for byte
  eval      every example's loss with the adapter that the CPU trained, fp32 and bf16
  generate  greedy ids, in fp32: equal up to the first near-tie, of which the CPU's losses are the judge

Exit code 1: a difference beyond the limits, or one device refused what the other takes."""
import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
FAMILIES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma": "Gemma",
            "gemma2": "Gemma2", "gemma3_text": "Gemma3", "phi3": "Phi3", "smollm3": "SmolLM3",
            "granite": "Granite", "olmo2": "Olmo2"}
GEMMAS = ("gemma", "gemma2", "gemma3_text")
BIASED = ("llama", "qwen3", "smollm3", "granite", "olmo2") + GEMMAS  # attention_bias is a key
BLOCK = 32  # values of a block of q8_0 and q4_0
TIE = 1e-4  # two next tokens whose log-probabilities are nearer than this are a tie


class Case:
    """One random model, data set and recipe, in a folder of its own."""

    def __init__(self, seed, number, graft, dir_):
        self.rng = random.Random(f"device/{seed}/{number}")
        self.weights = numpy.random.default_rng(self.rng.randrange(2**31))
        self.graft, self.dir = graft, dir_
        self.worst, self.failures, self.notes = {}, [], {}

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def measure(self, name, value, limit):
        """The worst share of a limit that was reached."""
        self.worst[name] = max(self.worst.get(name, 0.0), float(value) / limit)
        if not value <= limit:
            self.failures.append(f"{name}: {value:.3g}, limit {limit:.3g}")

    def run(self, command, device, *words):
        words = [self.graft, command, "--device", device, *words]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
        if done.returncode != 0:
            raise Refused(f"{device}: graft {command}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
        return done.stdout


class Refused(Exception):
    pass


def relative(got, want, floor=1.0):
    return abs(got - want) / max(floor, abs(want))


# ---- models ---------------------------------------------------------------------------------------------


def random_rope(rng, positions, kinds):
    kind = rng.choice(kinds)
    rope = {"rope_type": kind, "rope_theta": rng.choice([1e4, 1e6, 150.0])}
    if kind in ("linear", "dynamic", "yarn"):
        rope["factor"] = rng.choice([2.0, 1.5, 8.0])
    if kind in ("llama3", "yarn"):
        rope["original_max_position_embeddings"] = positions // 2
    if kind == "llama3":
        rope.update(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    return rope


def family_keys(rng, family, head, layers, positions, gguf):
    """What only some families have."""
    if family in ("gemma2", "gemma3_text"):
        return dict(hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=rng.choice([head, 24, 256]),
                    sliding_window=rng.choice([2, 5, 17, 70]), attn_logit_softcapping=rng.choice([None, 2.0, 50.0]),
                    final_logit_softcapping=rng.choice([None, 5.0, 30.0]),
                    layer_types=[rng.choice(["sliding_attention", "full_attention"]) for _ in range(layers)])
    if family == "smollm3" and not gguf:
        return dict(no_rope_layers=[rng.randint(0, 1) for _ in range(layers)])
    if family == "granite":
        return dict(embedding_multiplier=rng.choice([1.0, 12.0]), residual_multiplier=rng.choice([1.0, 0.22]),
                    attention_multiplier=rng.choice([0.125, head**-0.5]), logits_scaling=rng.choice([1.0, 6.0]))
    if family == "phi3" and not gguf:
        part = rng.choice([1.0, 0.75, 0.25])
        pairs = int(head * part) // 2
        return dict(partial_rotary_factor=part, original_max_position_embeddings=rng.choice([8, 16, positions]),
                    rope_scaling={"type": "longrope", "short_factor": [rng.uniform(1, 2) for _ in range(pairs)],
                                  "long_factor": [rng.uniform(1, 9) for _ in range(pairs)]})
    return {}


def random_config(rng, number, gguf):
    """Head widths go round: 8, 16 ... 256 in a row of 32 cases."""
    family = list(FAMILIES)[number % len(FAMILIES)]
    groups = rng.choice([1, 1, 2, 3])
    heads = groups * rng.choice([1, 2, 3, 4] if number % 32 < 16 else [1, 2])
    head = 8 * (number * 11 % 32 + 1)
    step = BLOCK if gguf else 8  # a GPU takes no other widths
    hidden = step * rng.randint(1, 96 // step)
    if gguf:
        head = BLOCK * -(-head // BLOCK)
    if family in ("qwen2", "phi3"):  # have no head_dim in their files
        hidden = heads * head
    positions = rng.choice([32, 64, 256])
    kinds = ["default", "linear", "yarn"] if gguf else ["default", "linear", "dynamic", "llama3", "yarn"]
    c = dict(
        architectures=[FAMILIES[family] + "ForCausalLM"], model_type=family, hidden_act="silu",
        vocab_size=rng.choice([97, 128, 131, 300, 521]), hidden_size=hidden,
        intermediate_size=BLOCK * rng.randint(1, 3) if gguf else rng.choice([rng.randint(3, 90), 8 * rng.randint(1, 9)]),
        num_hidden_layers=rng.randint(1, 3), num_attention_heads=heads, num_key_value_heads=groups,
        max_position_embeddings=positions, rms_norm_eps=rng.choice([1e-6, 1e-5]), bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=rng.random() < 0.5, torch_dtype="float32",
        rope_parameters=random_rope(rng, positions, kinds))
    if family == "phi3":
        del c["rope_parameters"]
    if family in GEMMAS:
        c["hidden_act"] = "gelu_pytorch_tanh"
    if family == "gemma3_text":
        c["rope_parameters"] = {"full_attention": c["rope_parameters"],
                                "sliding_attention": {"rope_type": "default", "rope_theta": 777.0}}
    c.update(family_keys(rng, family, head, c["num_hidden_layers"], positions, gguf))
    if family not in ("qwen2", "phi3"):
        c["head_dim"] = head
    if family in BIASED and not gguf:
        c["attention_bias"] = rng.random() < 0.3
    if family in ("llama", "smollm3", "granite") and not gguf:
        c["mlp_bias"] = rng.random() < 0.3
    if family in ("mistral", "phi3"):
        c["sliding_window"] = rng.choice([None, 1, 5, 17, 70])
    if family.startswith("qwen") and not gguf and rng.random() < 0.4:
        c.update(use_sliding_window=True, sliding_window=rng.choice([3, 9, 40]),
                 max_window_layers=rng.randint(0, c["num_hidden_layers"]))
    return c


def head_width(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def linear_of(c):
    return FUSED if c["model_type"] == "phi3" else LINEAR


def shapes_of(c):
    """Tensor names and shapes as Hugging Face has them."""
    d, f, k = c["hidden_size"], c["intermediate_size"], head_width(c)
    q, kv = c["num_attention_heads"] * k, c["num_key_value_heads"] * k
    family = c["model_type"]
    sizes = {"q_proj": (q, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, q),
             "gate_proj": (f, d), "up_proj": (f, d), "down_proj": (d, f),
             "qkv_proj": (q + 2 * kv, d), "gate_up_proj": (2 * f, d)}
    norms = ["post_attention_layernorm"]
    norms += [] if family == "olmo2" else ["input_layernorm"]
    norms += ["post_feedforward_layernorm"] if family in ("gemma2", "gemma3_text", "olmo2") else []
    norms += ["pre_feedforward_layernorm"] if family in ("gemma2", "gemma3_text") else []
    out = {"model.embed_tokens.weight": (c["vocab_size"], d), "model.norm.weight": (d,)}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        for name in linear_of(c):
            attention = name in ATTENTION + ["qkv_proj"]
            part, shape = "self_attn" if attention else "mlp", sizes[name]
            out[f"model.layers.{i}.{part}.{name}.weight"] = shape
            biased = c.get("attention_bias") if attention else c.get("mlp_bias")
            if biased or (family == "qwen2" and name in ATTENTION[:3]):
                out[f"model.layers.{i}.{part}.{name}.bias"] = shape[:1]
        for name in norms:
            out[f"model.layers.{i}.{name}.weight"] = (d,)
        if family in ("qwen3", "gemma3_text", "olmo2"):
            for name, width in (("q_norm", q), ("k_norm", kv)):
                out[f"model.layers.{i}.self_attn.{name}.weight"] = (width if family == "olmo2" else k,)
    return out


def random_weights(case, c, gguf=False):
    embed = 0.03 if c["tie_word_embeddings"] else 0.25  # small: else the next token is the last one again
    spread = min(0.1, 0.8 / max(c["hidden_size"], c["num_attention_heads"] * head_width(c)) ** 0.5)
    out = {}
    for name, shape in shapes_of(c).items():
        values = case.weights.standard_normal(shape)
        if "norm" in name:
            values = (c["model_type"] not in GEMMAS or gguf) + 0.2 * values
        else:
            values *= 0.1 if name.endswith("bias") else embed if "embed" in name else spread
        out[name] = values.astype(numpy.float32)
    return out


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for t in tensors.values():
            f.write(t.tobytes())


def write_tokenizer(dir_, vocab):
    """A tokenizer in which the text <17> is token 17: prompts of any ids."""
    names = {f"<{i}>": i for i in range(vocab)}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": False} for name, i in names.items()]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                 "pre_tokenizer": level, "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                           "ignore_merges": False, "vocab": names, "merges": []}}
    with open(os.path.join(dir_, "tokenizer.json"), "w") as f:
        json.dump(tokenizer, f)


def make_folder(case, c):
    os.makedirs(case.path("model"))
    write_safetensors(case.path("model", "model.safetensors"), random_weights(case, c))
    with open(case.path("model", "config.json"), "w") as f:
        json.dump(c, f, indent=2)
    write_tokenizer(case.path("model"), c["vocab_size"])
    return case.path("model")


# ---- GGUF -----------------------------------------------------------------------------------------------

GGUF_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
              "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
              "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "model.embed_tokens": "token_embd",
              "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name, family):
    module, kind = name.rsplit(".", 1)
    if "post_attention" in module and family in ("gemma2", "gemma3_text", "olmo2"):
        return gguf_name(name.replace("attention", "feedforward"), family).replace("post_ffw", "post_attention")
    if not module.startswith("model.layers."):
        return f"{GGUF_NAMES[module]}.{kind}"
    layer, module = module.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[module]}.{kind}"


def make_gguf(case, c):
    """The same weights for either device is all that counts: rows of q and k stay where they are."""
    import gguf
    quant = case.rng.choice(["Q8_0", "Q4_0"])
    arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(c["model_type"], c["model_type"])
    w = gguf.GGUFWriter(case.path("base.gguf"), arch)
    for key, value in (("context_length", c["max_position_embeddings"]), ("embedding_length", c["hidden_size"]),
                       ("block_count", c["num_hidden_layers"]), ("feed_forward_length", c["intermediate_size"]),
                       ("attention.head_count", c["num_attention_heads"]),
                       ("attention.head_count_kv", c["num_key_value_heads"]),
                       ("attention.key_length", head_width(c)), ("attention.value_length", head_width(c)),
                       ("vocab_size", c["vocab_size"])):
        w.add_uint32(f"{arch}.{key}", value)
    w.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", c["rms_norm_eps"])
    rope = c.get("rope_parameters", {"rope_theta": 1e4, "rope_type": "default"})
    rope = rope.get("full_attention", rope)
    w.add_float32(f"{arch}.rope.freq_base", rope["rope_theta"])
    if c.get("sliding_window"):
        w.add_uint32(f"{arch}.attention.sliding_window", c["sliding_window"])
    if rope["rope_type"] != "default":
        w.add_string(f"{arch}.rope.scaling.type", rope["rope_type"])
        w.add_float32(f"{arch}.rope.scaling.factor", rope["factor"])
    if rope["rope_type"] == "yarn":
        w.add_uint32(f"{arch}.rope.scaling.original_context_length", rope["original_max_position_embeddings"])
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if key in c:
            w.add_float32(f"{arch}.{key}", c[key] or 0.0)
    if arch == "granite":
        for key, value in (("attention.scale", "attention_multiplier"), ("embedding_scale", "embedding_multiplier"),
                           ("residual_scale", "residual_multiplier"), ("logit_scale", "logits_scaling")):
            w.add_float32(f"{arch}.{key}", c[value])
    for name, t in random_weights(case, c, True).items():
        kind = gguf.GGMLQuantizationType[quant if t.ndim == 2 else "F32"]
        w.add_tensor(gguf_name(name, c["model_type"]), gguf.quants.quantize(t, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    case.notes["gguf"] = quant
    return case.path("base.gguf")


# ---- data and settings ----------------------------------------------------------------------------------


def random_examples(rng, vocab, count, longest):
    out = []
    for _ in range(count):
        n = rng.choice([2, 3, rng.randint(2, 12), rng.randint(2, longest), longest])
        ids = [rng.randrange(3, vocab) for _ in range(n)]
        keep = rng.choice([1.0, 0.6, 0.1])
        labels = [x if rng.random() < keep else -100 for x in ids]
        labels[rng.randrange(1, n)] = rng.randrange(vocab)
        out.append({"input_ids": ids, "labels": labels})
    return out


def write_lines(path, objects):
    with open(path, "w") as f:
        f.writelines(json.dumps(o) + "\n" for o in objects)


def read_lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def random_lora(rng, layers, linear):
    words = ["--lora-r", rng.choice([1, 2, 3, 4, 5, 8, 16, 33, 64]), "--lora-alpha", rng.choice([1, 4, 16, 2.5])]
    if rng.random() < 0.5:
        targets = rng.sample(linear, rng.randint(1, len(linear) - 1))
        words += ["--target-modules", ",".join(targets)]
        if rng.random() < 0.4:
            words += ["--layers-to-transform", ",".join(map(str, rng.sample(range(layers), rng.randint(1, layers))))]
    if rng.random() < 0.3:
        words += ["--rank-pattern", json.dumps({rng.choice(linear): rng.choice([1, 3, 12]),
                                                "self_attn.v_proj": rng.choice([1, 7, 20])})]
    if rng.random() < 0.4:
        words += ["--lora-dropout", rng.choice([0.05, 0.3, 0.5])]
    return words


def random_recipe(rng):
    return ["--batch-size", rng.randint(1, 5), "--max-steps", rng.randint(2, 5), "--learning-rate",
            rng.choice([1e-3, 3e-3]), "--adam-epsilon", 1e-6, "--seed", rng.randrange(1000),
            "--weight-decay", rng.choice([0, 0.1]), "--max-grad-norm", rng.choice([0, 1.0, 0.3])]


def bf16_bounds(layers):
    """By the number of roundings, as tests/golden/device/test_cases.c derives them."""
    count = 16.0 * layers + 3.0
    return math.sqrt(count) * 2**-8, math.sqrt(2 * count) * 2**-8


# ---- the comparisons ------------------------------------------------------------------------------------


def compare_steps(case, name, want, got, loss, norm):
    steps = [[x for x in read_lines(case.path(out, "metrics.jsonl")) if "loss" in x] for out in (want, got)]
    if len(steps[0]) != len(steps[1]):
        case.failures.append(f"{name}: {len(steps[1])} steps, want {len(steps[0])}")
    for a, b in zip(*steps):
        case.measure(f"{name} loss", relative(b["loss"], a["loss"]), loss)
        case.measure(f"{name} norm", relative(b["grad_norm"], a["grad_norm"], 1e-3), norm)


def same_file(a, b):
    with open(a, "rb") as x, open(b, "rb") as y:
        return x.read() == y.read()


def check_train(case, base, recipe):
    words = ["--model", base, "--data", case.path("train.jsonl"), *recipe]
    rows = case.rng.randint(70, 160)
    case.run("train", "cpu", *words, "--output-dir", case.path("cpu"))
    case.run("train", "cuda", *words, "--precision", "fp32", "--output-dir", case.path("fp32"))
    case.run("train", "cuda", *words, "--precision", "fp32", "--row-tokens", rows, "--output-dir", case.path("rows"))
    case.run("train", "cuda", *words, "--output-dir", case.path("bf16"))
    compare_steps(case, "fp32", "cpu", "fp32", 1e-5, 1e-4)
    compare_steps(case, "bf16", "cpu", "bf16", *bf16_bounds(case.layers))
    file = "adapter_model.safetensors"
    if not same_file(case.path("fp32", file), case.path("rows", file)):
        case.failures.append(f"--row-tokens {rows}: other bytes")


def losses(case, device, words, examples, precision):
    data, out = case.path("eval.jsonl"), case.path(f"per-example-{device}.jsonl")
    write_lines(data, examples)
    case.run("eval", device, *words, "--data", data, "--precision", precision, "--per-example", out)
    return [line["nll"] / line["trained_tokens"] for line in read_lines(out)]


def check_eval(case, words, examples):
    want = losses(case, "cpu", words, examples, "fp32")
    for precision, limit in (("fp32", 1e-5), ("bf16", 4 * bf16_bounds(case.layers)[0])):
        got = losses(case, "cuda", words, examples, precision)
        for a, b in zip(want, got, strict=True):  # of few tokens each, so not the mean of a step
            case.measure(f"{precision} eval", relative(b, a), limit)


def check_generate(case, words, vocab):
    n = case.rng.choice([1, 3, case.rng.randint(1, 50), case.rng.randint(60, 200)])
    prompt = [case.rng.randrange(3, vocab) for _ in range(n)]
    more = ["--prompt", "".join(f"<{i}>" for i in prompt), "--max-new-tokens", case.rng.randint(3, 12), "--json"]
    want, got = [json.loads(case.run("generate", device, *words, *more, "--precision", "fp32"))["ids"]
                 for device in ("cpu", "cuda")]
    case.notes["distinct"] = len(set(want[n:]))
    for i, (a, b) in enumerate(zip(want, got)):
        if a != b:
            pair = [{"input_ids": want[:i] + [x], "labels": [-100] * i + [x]} for x in (a, b)]
            one, other = losses(case, "cpu", words, pair, "fp32")
            if i < n or abs(one - other) > TIE:
                case.failures.append(f"generate: {got[n:]} want {want[n:]}, nll {one:.6g} and {other:.6g}")
            return
    if len(want) != len(got):
        case.failures.append(f"generate: {len(got)} ids, want {len(want)}")


def check(case, number):
    rng = case.rng
    gguf = number % 5 == 4
    c = random_config(rng, number, gguf)
    base = make_gguf(case, c) if gguf else make_folder(case, c)
    case.layers = c["num_hidden_layers"]
    recipe = random_lora(rng, case.layers, linear_of(c)) + random_recipe(rng)
    write_lines(case.path("train.jsonl"), random_examples(rng, c["vocab_size"], rng.randint(3, 9), 70))
    case.notes.update(
        family=c["model_type"], rope=c.get("rope_parameters", {}).get("rope_type"), window=c.get("sliding_window"),
        V=c["vocab_size"], D=c["hidden_size"], F=c["intermediate_size"], H=c["num_attention_heads"],
        G=c["num_key_value_heads"], K=head_width(c), L=case.layers, options=" ".join(map(str, recipe)))
    check_train(case, base, recipe)
    words = ["--model", base, "--adapter", case.path("cpu")]
    check_eval(case, words, random_examples(rng, c["vocab_size"], 4, 70))
    if not gguf:  # which has no tokenizer here
        check_generate(case, words, c["vocab_size"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("graft")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--keep", help="folder for the cases' files")
    args = parser.parse_args()
    worst, bad = {}, 0
    root = args.keep or tempfile.mkdtemp(prefix="device-differential-")
    for number in [args.only] if args.only is not None else range(args.first, args.first + args.cases):
        dir_ = os.path.join(root, str(number))
        shutil.rmtree(dir_, ignore_errors=True)
        os.makedirs(dir_)
        case = Case(args.seed, number, os.path.abspath(args.graft), os.path.abspath(dir_))
        try:
            check(case, number)
        except Refused as e:
            case.failures.append(str(e))
        for name, share in case.worst.items():
            worst[name] = max(worst.get(name, (0.0, number)), (share, number))
        bad += bool(case.failures)
        print(f"{number}: {'FAIL' if case.failures else 'ok'}", json.dumps(case.notes), flush=True)
        for line in dict.fromkeys(case.failures):
            print("    " + line, flush=True)
        if not args.keep:
            shutil.rmtree(dir_)
    for name, (share, number) in worst.items():
        print(f"{name:12} worst {share:6.2%} of its limit (case {number})")
    print(f"{bad} failed")
    sys.exit(1 if bad else 0)


main()
