#!/usr/bin/env python3
"""Makes smollm.gguf, qwen2.gguf and llama2.gguf from the folders that make.py wrote, and
llama2-scores/vectors.jsonl: pieces with scores instead of merges have merges of their own. Needs
`tokenizers` and `gguf`."""
import json
import os

import gguf
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def load(kind):
    state = json.load(open(os.path.join(HERE, kind, "tokenizer.json")))
    vocab = dict(state["model"]["vocab"])
    vocab.update({a["content"]: a["id"] for a in state["added_tokens"]})
    return state, [t for t, _ in sorted(vocab.items(), key=lambda x: x[1])]


def write(name, add):
    writer = gguf.GGUFWriter(os.path.join(HERE, name + ".gguf"), "llama")
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level(kind, pre):
    state, tokens = load(kind)

    def add(w):
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(tokens)
        w.add_token_types([NORMAL] * len(tokens))
        w.add_token_merges([" ".join(m) for m in state["model"]["merges"]])
        w.add_eos_token_id(3)
        w.add_chat_template("{{ messages[0]['content'] }}")
    write(kind, add)


def merges_of(tokens, scores):
    ids = {t: i for i, t in enumerate(tokens)}
    merges = []
    for piece, score in zip(tokens, scores):
        local = [(piece[:i], piece[i:], score) for i in range(1, len(piece))
                 if piece[:i] in ids and piece[i:] in ids]
        merges += sorted(local, key=lambda m: (ids[m[0]], ids[m[1]]))
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    return [[a, b] for a, b, _ in merges]


def sentencepiece():
    state, tokens = load("llama2")
    types = [UNKNOWN, CONTROL, CONTROL] + [
        BYTE if t.startswith("<0x") and len(t) == 6 else NORMAL for t in tokens[3:]]
    scores = [0.0] * 259 + [-float(i // 2) for i in range(len(tokens) - 259)]  # with ties

    def add(w):
        w.add_tokenizer_model("llama")
        w.add_token_list(tokens)
        w.add_token_types(types)
        w.add_token_scores(scores)
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)
    write("llama2", add)
    state["model"]["merges"] = merges_of(tokens, scores)
    t = Tokenizer.from_str(json.dumps(state))
    os.makedirs(os.path.join(HERE, "llama2-scores"), exist_ok=True)
    with open(os.path.join(HERE, "llama2-scores", "vectors.jsonl"), "w") as f:
        for line in open(os.path.join(HERE, "llama2", "vectors.jsonl")):
            text = json.loads(line)["text"]
            ids = t.encode(text, add_special_tokens=False).ids
            f.write(json.dumps({"text": text, "ids": ids, "ids_with_special": t.encode(text).ids,
                                "decoded": t.decode(ids, skip_special_tokens=False)},
                               ensure_ascii=False) + "\n")


byte_level("smollm", "smollm")
byte_level("qwen2", "qwen2")
sentencepiece()
