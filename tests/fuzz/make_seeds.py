#!/usr/bin/env python3
"""Writes seeds/dataset and seeds/template: small inputs from which the fuzzers begin. python3 make_seeds.py"""
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
U, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {"name": "f", "arguments": {"x": 1.0}}}]}
DATA = {
    "messages": {"messages": [U, A, U, dict(A, weight=0)]},
    "tools": {"messages": [U, CALL, {"role": "tool", "content": "7"}, A], "tools": json.dumps([{"name": "f"}])},
    "parts": [dict(U, content=[{"type": "text", "text": "é"}]), A],
    "sharegpt": {"system": "s", "conversations": [
        {"from": "human", "value": "q"}, {"from": "function_call", "value": '{"name":"f","arguments":{}}'},
        {"from": "observation", "value": "7"}, {"from": "gpt", "value": "a", "loss": True}]},
    "alpaca": {"instruction": "i", "input": "n", "output": "o", "history": [["a", "b"]]},
    "pair": {"prompt": "p ", "completion": "c"},
    "chats": {"prompt": [U], "completion": [A]},
    "text": {"text": "a \ud83d\ude00"},
    "guanaco": {"text": "### Human: q### Assistant: a</s>### Human: r"},
    "tokens": {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]},
}
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m.content + '<|im_end|>' }}{% endfor %}",
    "tools": "{%- if tools %}{% for t in tools %}{{ t | tojson(indent=2) }}{% endfor %}{% endif %}",
    "macro": "{% macro f(x, y=1) %}{{ x ~ y }}{% endmacro %}{{ f('a') }}{% set ns = namespace(i=0) %}"
             "{% for m in messages %}{% set ns.i = ns.i + 1 %}{{ loop.index0 }}{% endfor %}{{ ns.i }}",
    "filters": "{{ messages | map(attribute='role') | join(',') | upper | trim }}{{ [3, 1] | sort | first }}"
               "{{ messages[1:][::-1] | length }}{{ 'a,b'.split(',')[-1] }}{{ 7 // 2 ** 2 % 3 }}",
    "tests": "{% if messages[0].n is number and x is not defined %}{{ raise_exception('no') }}{% else %}"
             "{{ strftime_now('%d %b %Y') }}{% endif %}{# a comment #}{% raw %}{{ }}{% endraw %}",
}
for name, record in DATA.items():
    for kind, text in ((b"\x03", json.dumps(record)), (b"\x00", json.dumps([record, record], indent=1))):
        with open(os.path.join(HERE, "seeds/dataset", name + (".lines" if kind == b"\x03" else ".array")), "wb") as f:
            f.write(kind + text.encode() + b"\n")
for name, text in TEMPLATES.items():
    with open(os.path.join(HERE, "seeds/template", name), "w", encoding="utf-8") as f:
        f.write(text)
