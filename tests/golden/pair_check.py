#!/usr/bin/env python3
"""Prompt and completion as TRL's SFTTrainer tokenizes them, against `graft tokenize`.

    python3 pair_check.py GRAFT MODEL TOKENIZER     (trl 1.16, transformers 5.23, datasets)

MODEL is what graft reads, TOKENIZER a folder with the same tokenizer for transformers: an adapter
folder that graft has written is one. (transformers' own reading of a GGUF splits digits otherwise.)

Texts: ids and labels must be equal. Messages: the ids; the labels but for what follows the turn's
last control token, which graft does not train (TRL trains to the end of the text).
"""
import json
import subprocess
import sys
import tempfile

from transformers import AutoTokenizer
from trl.trainer import sft_trainer

graft, model, folder = sys.argv[1:4]
tok = AutoTokenizer.from_pretrained(folder)
TEXTS = [("The capital of France is", " Paris."), ("Q: 1+1?\nA:", " 2"), ("Q: ", " 2"), ("", "Once"), ("naï", "ve"),
         ("def f(x):\n   ", " return x"), ("日", "本語"), ("a", ""), ("un", "believable"), ("x = ", "12345")]
U, A = (lambda s: {"role": "user", "content": s}), (lambda s: {"role": "assistant", "content": s})
CHATS = [([U("Hi")], [A("Hello!")]), ([{"role": "system", "content": "Brief."}, U("a"), A("b"), U("c")], [A("d e")])]


def theirs(prompt, completion):
    if isinstance(prompt, str):
        if not completion.endswith(tok.eos_token):
            completion += tok.eos_token
        alone, whole = (tok(text=t)["input_ids"] for t in (prompt, prompt + completion))
    else:
        render = lambda m, g: tok.apply_chat_template(m, add_generation_prompt=g, return_dict=True)["input_ids"]
        alone, whole = render(prompt, True), render(prompt + completion, False)
    n = sft_trainer.common_prefix_length(alone, whole)
    return whole, [-100] * n + whole[n:]


bad = 0
for prompt, completion in TEXTS + CHATS:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump({"prompt": prompt, "completion": completion}, f)
        f.flush()
        out = subprocess.run([graft, "tokenize", "--model", model, "--messages", f.name, "--json"],
                             capture_output=True, text=True, check=True).stdout
    got, (ids, labels) = json.loads(out), theirs(prompt, completion)
    if not isinstance(prompt, str):  # from the last control token on
        end = max(i for i, t in enumerate(ids) if t == tok.eos_token_id)
        labels[end + 1:] = [-100] * (len(ids) - end - 1)
    ok = got["ids"] == ids and got["labels"] == labels
    bad += not ok
    print("ok " if ok else "BAD", repr(prompt)[:40], repr(completion)[:30])
    if not ok:
        print("  graft ", got["ids"], got["labels"], "\n  theirs", ids, labels)
sys.exit(bad > 0)
