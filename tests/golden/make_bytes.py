#!/usr/bin/env python3
"""Writes bytes/: a tokenizer whose tokens are single bytes and a few special tokens, so that a test
can read off which bytes are trained."""
import json
import os

kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
char = {b: chr(b) for b in kept}
char.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in kept)})
vocab = {char[b]: b for b in range(256)}
special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>"]
added = [{"id": 256 + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
          "normalized": False, "special": True} for i, s in enumerate(special)]
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                      "use_regex": True},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": None,
              "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
              "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []},
}
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bytes")
os.makedirs(folder, exist_ok=True)
for name, content in (("tokenizer.json", tokenizer),
                      ("tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=True)
        out.write("\n")
