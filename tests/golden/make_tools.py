#!/usr/bin/env python3
"""Writes tools.json: what transformers makes of conversations with tools, by the chat templates in
../shared/templates (which are not copied), and whether all that was given is in it.

    python3 make_tools.py [FOLDER OF TEMPLATES]       (transformers 5.23)
"""
import datetime
import json
import os
import sys

from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../../../shared/templates")


class Then(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 15, tzinfo=tz)


chat_template_utils.datetime = Then

TOOLS = [{"type": "function", "function": {"name": name, "description": "Tells the " + name + ".",
          "parameters": {"type": "object", "properties": {key: {"type": "string", "description": "of what"}},
                         "required": [key]}}} for name, key in (("get_weather", "city"), ("get_time", "zone"))]
QUESTION = {"role": "user", "content": "What is it like in Zürich?"}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "abcdef123", "type": "function",
     "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "exact": True}}}]}
REPLY = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": '{"sky": "clear"}'}
ANSWER = {"role": "assistant", "content": "Clear."}
CASES = {
    "tools": {"tools": TOOLS, "messages": [QUESTION, ANSWER]},
    "system": {"tools": TOOLS, "messages": [{"role": "system", "content": "Be brief."}, QUESTION, ANSWER]},
    "call": {"tools": TOOLS, "messages": [QUESTION, CALL]},
    "round": {"tools": TOOLS, "messages": [QUESTION, CALL, REPLY, ANSWER]},
    "text": {"tools": TOOLS, "messages": [QUESTION, dict(CALL, tool_calls=[dict(CALL["tool_calls"][0], function={
        "name": "get_weather", "arguments": '{"city": "Zürich"}'})]), REPLY, ANSWER]},
    "untold": {"messages": [QUESTION, CALL, REPLY, ANSWER]},
}


def parts(case):
    """The strings that a rendering must have."""
    yield from (t["function"]["name"] for t in case.get("tools", []))
    for m in case["messages"]:
        if m["content"]:
            yield m["content"]
        for c in m.get("tool_calls", []):
            yield c["function"]["name"]
            args = c["function"]["arguments"]
            yield from [args] if isinstance(args, str) else map(str, args)


def holds(text, part):
    return part in text or json.dumps(part, ensure_ascii=False)[1:-1] in text


out = []
for name in sorted(f[:-6] for f in os.listdir(FOLDER) if f.endswith(".jinja")):
    template = open(os.path.join(FOLDER, name + ".jinja"), encoding="utf-8").read()
    for case, record in CASES.items():
        entry = {"template": name, "case": case}
        try:
            text, _ = chat_template_utils.render_jinja_template(
                [record["messages"]], tools=record.get("tools"), chat_template=template,
                bos_token="<s>", eos_token="</s>")
            entry["lost"] = [p for p in parts(record) if not holds(text[0], p)]
            if not entry["lost"]:
                entry["text"] = text[0]
        except Exception as e:  # what a template raises
            entry["error"] = str(e)
        out.append(entry)
with open(os.path.join(HERE, "tools.json"), "w", encoding="utf-8") as f:
    json.dump({"records": CASES, "renderings": out}, f, ensure_ascii=False, indent=1)
    f.write("\n")
for e in out:
    print(e["template"][:30], e["case"], "text" if "text" in e else e.get("lost") or e["error"][:60])
