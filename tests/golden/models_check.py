#!/usr/bin/env python3
"""The models that graft merge and convert write, loaded by those who read such files.

    python3 models_check.py build/bin/graft [MODEL.gguf] [FAMILY ...]

Needs torch, transformers, peft, gguf and llama-cpp-python; not part of the test run. Random models of
every family with random PEFT adapters are merged by PEFT and by graft. Folders (f32, bf16, f16, in
shards) are loaded by transformers: their logits are those of PEFT's merged model within the type's
rounding. GGUF files of every type are read by the gguf package tensor by tensor and loaded by
llama.cpp: its losses are those of graft on the same file, and of PEFT's model within the type's
rounding; texts get the same ids. Several adapters with weights are compared with PEFT's. With a GGUF
the same on its own tokenizer. Exit code 1 if anything differs.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize
from llama_cpp import Llama
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = 48
# Of a token's loss, between two programs on the same weights: llama.cpp rounds activations to 8 bits
# before a product with blocks, and to 16 before one with f16 and bf16.
SAME_FILE = {"f32": 2e-3, "f16": 2e-2, "bf16": 5e-2, "q8_0": 8e-2, "q4_0": 0.25, "q4_k": 0.25}
# Relative error of logits for weights of that type, in llama.cpp, which keeps keys and values in f16;
# and of folders in f32.
EXACT = 1e-4
ROUNDING = {"f32": 2e-3, "f16": 1e-2, "bf16": 8e-2, "q8_0": 0.2, "q4_0": 1.0, "q4_k": 1.0}

SIZES = dict(vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             initializer_range=0.06, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64, "rope_theta": 500000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0}

LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0 + 0.02 * i for i in range(32)],
            "long_factor": [1.0 + 0.2 * i for i in range(32)]}


def family(name, tokenizer, **options):
    return lambda: getattr(transformers, name)(**{**SIZES, **options}), tokenizer


FAMILIES = {
    "llama": family("LlamaConfig", "llama3"),
    "llama3-tied": family("LlamaConfig", "llama3", tie_word_embeddings=True, rope_parameters=LLAMA3),
    "llama-biases": family("LlamaConfig", "smollm", attention_bias=True, mlp_bias=True),
    "llama-linear": family("LlamaConfig", "llama2",
                           rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
    "mistral": family("MistralConfig", "llama2", sliding_window=None),
    "qwen2": family("Qwen2Config", "qwen2"),
    "qwen2-yarn": family("Qwen2Config", "qwen2", rope_parameters=YARN),
    "qwen3": family("Qwen3Config", "qwen2", head_dim=64),
    "gemma": family("GemmaConfig", "gemma", head_dim=64),
    "gemma2": family("Gemma2Config", "gemma", head_dim=64, query_pre_attn_scalar=64, sliding_window=16),
    "gemma3": family("Gemma3TextConfig", "gemma", head_dim=64, query_pre_attn_scalar=64, sliding_window=16,
                     num_hidden_layers=7),
    # Not by its name: llama.cpp asks files with phi3 in theirs for tokens of the real ones.
    "fused": family("Phi3Config", "llama2", original_max_position_embeddings=256),
    "fused-longrope": family("Phi3Config", "llama2", max_position_embeddings=512,
                             original_max_position_embeddings=256, rope_parameters=LONGROPE),
    "smollm3": family("SmolLM3Config", "smollm", num_hidden_layers=5),
    "granite": family("GraniteConfig", "smollm", embedding_multiplier=3.0, attention_multiplier=0.2,
                      residual_multiplier=0.5, logits_scaling=2.0),
    "olmo2": family("Olmo2Config", "qwen2"),
}
TEXTS = ["Hello world", " two  spaces\tand\ttabs\n\n", "I'll we've 123456 3.14",
         "na\u00efve \u4e16\u754c \U0001f600", "<|im_start|>user\nx<|im_end|>", "a" * 50,
         "\u00e9\u200b x"]

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


# ---- logits ------------------------------------------------------------------------------------


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy().astype(np.float64)


def relative_error(want, got):
    spread = want - want.mean(axis=1, keepdims=True)
    diff = got - got.mean(axis=1, keepdims=True) - spread
    return float(np.sqrt((diff**2).sum() / (spread**2).sum()))


def loss_of(logits, ids):
    top = logits.max(axis=1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return float(-np.mean([log_p[i, ids[i + 1]] for i in range(len(ids) - 1)]))


def graft_loss(path, ids, scratch):
    data, each = f"{scratch}/ids.jsonl", f"{scratch}/each.jsonl"
    with open(data, "w") as f:
        f.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")
    graft("eval", "--model", path, "--data", data, "--per-example", each, "--device", "cpu")
    with open(each) as f:
        line = json.loads(f.readline())
    os.unlink(each)
    return line["nll"] / line["trained_tokens"]


# ---- files -------------------------------------------------------------------------------------


def load_folder(path):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32,
                                                       attn_implementation="eager",
                                                       output_loading_info=True)
    check(not info["missing_keys"] and not info["unexpected_keys"], f"{path}: {info}")
    return model.eval()


def check_reader(path):
    """Every tensor of a GGUF through the gguf package: whole, finite."""
    reader = GGUFReader(path)
    for t in reader.tensors:
        x = dequantize(t.data, t.tensor_type)
        check(x.size == t.n_elements and np.isfinite(x).all(), f"{path}: {t.name}")
    keys = set(reader.fields)
    for key in ("general.architecture", "general.file_type", "tokenizer.ggml.model",
                "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
        check(key in keys, f"{path}: no {key}")


def check_texts(path, llama):
    for text in TEXTS:
        mine = json.loads(graft("tokenize", "--model", path, f"--text={text}", "--json"))["ids"]
        theirs = llama.tokenize(text.encode(), add_bos=True, special=True)
        check(mine == theirs, f"{path}: {text!r}: {mine}, llama.cpp {theirs}")


def check_gguf(path, dtype, ids, want, scratch, what):
    """`want`: logits of the exact merged model."""
    check_reader(path)
    llama = Llama(path, n_ctx=256, logits_all=True, verbose=False, n_threads=2)
    llama.eval(ids)
    got = np.array(llama.scores[:len(ids)]).astype(np.float64)
    off = abs(loss_of(got, ids) - graft_loss(path, ids, scratch))
    error = relative_error(want, got)
    check(off <= SAME_FILE[dtype], f"{what}: llama.cpp's loss is {off:.3g} off")
    check(error <= ROUNDING[dtype], f"{what}: logits are {error:.3g} off")
    check_texts(path, llama)
    print(f"{what}: loss {off:.2g} from llama.cpp's, logits {error:.2g} from the exact ones")


# ---- models ------------------------------------------------------------------------------------


def make_base(path, config, tokenizer):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config())
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith(".bias"):
                value.normal_(0, 0.1)
            elif "norm" in key:
                value.add_(torch.randn_like(value) * 0.1)
    model.to(torch.bfloat16).save_pretrained(path)
    shutil.copy(f"{HERE}/tokenizers/{tokenizer}/tokenizer.json", path)
    with open(f"{path}/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, f)


def make_adapter(base, path, seed):
    torch.manual_seed(seed)
    model = get_peft_model(load_folder(base), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear",
                                                         task_type="CAUSAL_LM"))
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_B" in key:
                value.normal_(0, 0.01)
    model.save_pretrained(path)


def merged_by_peft(base, adapter):
    return PeftModel.from_pretrained(load_folder(base), adapter).merge_and_unload().eval()


def check_model(base, adapter, exact, ids, scratch, what, dtypes):
    want = logits_of(exact, ids)
    for dtype in ("f32", "bf16", "f16"):
        out = f"{scratch}/merged"
        graft("merge", "--model", base, "--adapter", adapter, "--output-dir", out, "--dtype", dtype,
              "--max-shard-size", "1M", "--verify")
        error = relative_error(want, logits_of(load_folder(out), ids))
        check(error <= (EXACT if dtype == "f32" else ROUNDING[dtype]), f"{what} folder {dtype}: {error:.3g} off")
        print(f"{what} folder {dtype}: logits {error:.2g} from PEFT's")
        shutil.rmtree(out)
    for dtype in dtypes:
        out = f"{scratch}/merged.gguf"
        graft("merge", "--model", base, "--adapter", adapter, "--output", out, "--dtype", dtype, "--verify")
        check_gguf(out, dtype, ids, want, scratch, f"{what} GGUF {dtype}")
        os.unlink(out)


def check_weights(base, adapters, ids, scratch):
    """Several adapters: PEFT's add_weighted_adapter, "cat"."""
    model = PeftModel.from_pretrained(load_folder(base), adapters[0], adapter_name="a")
    model.load_adapter(adapters[1], adapter_name="b")
    model.add_weighted_adapter(["a", "b"], [0.7, 0.3], "c", combination_type="cat")
    model.set_adapter("c")
    out = f"{scratch}/several"
    graft("merge", "--model", base, "--adapter", adapters[0], "--adapter", adapters[1],
          "--adapter-weights", "0.7,0.3", "--output-dir", out, "--dtype", "f32")
    error = relative_error(logits_of(model.eval(), ids), logits_of(load_folder(out), ids))
    check(error <= EXACT, f"two adapters: {error:.3g} off")
    print(f"two adapters with weights: logits {error:.2g} from PEFT's")


def check_families(scratch):
    pick = random.Random(7)
    ids = [pick.randrange(3, 400) for _ in range(TOKENS)]
    asked = [name for name in sys.argv[2:] if name in FAMILIES]
    for name in asked or FAMILIES:
        config, tokenizer = FAMILIES[name]
        base, adapters = f"{scratch}/{name}", [f"{scratch}/{name}-{i}" for i in range(2)]
        make_base(base, config, tokenizer)
        for i, adapter in enumerate(adapters):
            make_adapter(base, adapter, 3 + i)
        check_model(base, adapters[0], merged_by_peft(base, adapters[0]), ids, scratch, name, SAME_FILE)
        if name == "llama":
            check_weights(base, adapters, ids, scratch)


def check_real(path, scratch):
    """A GGUF: converted to a folder for transformers, and from there and from itself to every type."""
    folder = f"{scratch}/folder"
    graft("convert", "--model", path, "--output-dir", folder, "--dtype", "f32", "--max-shard-size", "100M",
          "--verify")
    model, tokenizer = load_folder(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The quick brown fox jumps over the lazy dog. In 1969, people walked on the moon; "
                    "it took them three days to get there.")["input_ids"]
    want = logits_of(model, ids)
    for source, how in ((path, "from a GGUF"), (folder, "from a folder")):
        for dtype in SAME_FILE:
            out = f"{scratch}/converted.gguf"
            graft("convert", "--model", source, "--output", out, "--dtype", dtype)
            check_gguf(out, dtype, ids, want, scratch, f"{os.path.basename(path)} {how} {dtype}")
            os.unlink(out)


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
                check_real(gguf, folder)
    print("all equal" if not failures else f"{failures} failed")
    sys.exit(failures > 0)
