"""Writes eval.jsonl, the questions, and eval.json, what transformers and PEFT make of them with the
model of cases/llama-gqa and its trained adapter: sums of each choice's token losses, which choice is
right in each way of counting. For test_eval.c; its tokenizer is that of support/small_model.c.

    python3 tests/golden/eval.py     (transformers, peft, torch)
"""
import json
import os

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
CASE = os.path.join(HERE, "cases", "llama-gqa")
SPECIAL = {"<|pad|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
WORDS = ["red", "green", "blue", "a long answer", "no", "yes!", "Paris", "Rome is it", "42", "seven"]


def encode(text):
    ids = []
    while text:
        for name, number in SPECIAL.items():
            if text.startswith(name):
                ids.append(number)
                text = text[len(name):]
                break
        else:
            c = text[0]
            ids.append(3 if c == " " else 4 if c == "\n" else 5 + ord(c) - ord("!"))
            text = text[1:]
    return ids


def questions():
    out = []
    for i in range(12):
        choices = [WORDS[(i * 3 + k * 7 + k * k) % 10] for k in range(2 + i % 3)]
        choices = list(dict.fromkeys(choices))
        right = (i * 5 + 1) % len(choices)
        answer = [right, choices[right], "ABCD"[right]][i % 3]
        out.append(({"question": "What is %d?" % i, "choices": choices, "answer": answer}, right))
    return out


@torch.no_grad()
def score(model, question, choice, plain):
    prompt = question if plain else "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n" % question
    head, ids = encode(prompt), encode(prompt + (" " if plain else "") + choice)
    logits = model(torch.tensor([ids])).logits[0].double()
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    return float(loss[len(head) - 1:].sum()), len(ids) - len(head)


def main():
    base = AutoModelForCausalLM.from_pretrained(os.path.join(CASE, "model"), dtype=torch.float32).eval()
    asked = questions()
    with open(os.path.join(HERE, "eval.jsonl"), "w") as f:
        for q, _ in asked:
            f.write(json.dumps(q) + "\n")
    out = {}
    for name in ("base", "tuned"):
        if name == "tuned":
            base = PeftModel.from_pretrained(base, os.path.join(CASE, "adapter-trained")).eval()
        for plain in (False, True):
            rows, right = [], [0, 0, 0]
            for q, answer in asked:
                scores = [score(base, q["question"], c, plain) for c in q["choices"]]
                ways = [[s for s, _ in scores], [s / len(c) for (s, _), c in zip(scores, q["choices"])],
                        [s / n for s, n in scores]]
                for k, way in enumerate(ways):
                    right[k] += way.index(min(way)) == answer
                rows.append(ways[0])
            out[name + ("_text" if plain else "")] = {
                "nll": rows, "acc": right[0] / len(asked), "acc_norm": right[1] / len(asked),
                "acc_norm_token": right[2] / len(asked)}
    with open(os.path.join(HERE, "eval.json"), "w") as f:
        json.dump(out, f)
        f.write("\n")


main()
