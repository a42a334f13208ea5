#!/usr/bin/env python3
"""The TEMPLATE of `graft export --format ollama`, run by Go's own text/template.

    python3 ollama_check.py build/bin/graft MODEL.gguf TEMPLATE.jinja ...

Needs go, jinja2 and transformers; not part of the test run. For each chat template an adapter of the
model is exported with it; the Modelfile's TEMPLATE is executed by Go with what Ollama passes (Messages,
and System: all system messages), and must give, for conversations of one to five turns with and without
a system message, what transformers' Jinja gives, less the BOS that the runtime adds itself. Where the
Modelfile says so, blanks around messages and the date may differ. A template for which there is no TEMPLATE
is named. Exit code 1 if anything differs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

from transformers.utils.chat_template_utils import _compile_jinja_template

GO = r"""
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func main() {
	var in struct {
		Template string
		Chats    [][]message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	t := template.Must(template.New("").Option("missingkey=zero").Parse(in.Template))
	var out []string
	for _, chat := range in.Chats {
		var system []string
		for _, m := range chat {
			if m.Role == "system" {
				system = append(system, m.Content)
			}
		}
		var b strings.Builder
		if err := t.Execute(&b, map[string]any{"System": strings.Join(system, "\n\n"), "Messages": chat, "Response": ""}); err != nil {
			panic(err)
		}
		out = append(out, b.String())
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
"""
TEXTS = ["How many legs?", "Eight.\nNot six.", "  spaces  ", "\u4e16\u754c \"quoted\" {{ .Role }}", "a </s> b"]
SYSTEMS = [None, "Be terse.", "Two\nlines with \"quotes\""]


def chats():
    out = []
    for system in SYSTEMS:
        for turns in (1, 3, 5):
            for texts in ([f"t{i}" for i in range(5)], TEXTS):
                chat = [{"role": "system", "content": system}] if system else []
                out.append(chat + [{"role": "assistant" if i % 2 else "user", "content": texts[i]}
                                   for i in range(turns)])
    return out


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr}")
    return done.stdout


def modelfile(path):
    text = open(path).read()
    found = re.search(r'TEMPLATE """(.*?)"""', text, re.S)
    return text, found and found.group(1), re.findall(r'PARAMETER stop "(.*)"', text)


def expected(jinja, chat, tokens):
    try:
        return jinja.render(messages=chat, add_generation_prompt=True, **tokens)
    except Exception:  # raised by the template
        return None


def squeeze(text):
    return re.sub(r"\s+", "", text)


def check(name, folder, tokens, adds_bos, scratch):
    text, go, stops = modelfile(f"{folder}/Modelfile")
    if not go:
        print(f"{name}: no TEMPLATE")
        return 0
    jinja = _compile_jinja_template(open(name).read())
    ask = chats()
    got = json.loads(run(f"{scratch}/render", input=json.dumps({"Template": go, "Chats": ask})))
    bad = equal = 0
    for chat, mine in zip(ask, got):
        want = expected(jinja, chat, tokens)
        if want is None and chat[0]["role"] == "system" and "takes no system message" in text:
            continue
        if adds_bos and want and want.startswith(tokens["bos_token"]):
            want = want[len(tokens["bos_token"]):]
        blanks = "strips blanks" in text and any(m["content"] != m["content"].strip() for m in chat)
        same = want is not None and (squeeze(mine) == squeeze(want) if blanks else mine == want)
        equal += same
        if not same:
            bad += 1
            print(f"{name}: {chat}\n  Go    {mine!r}\n  Jinja {want!r}")
    print(f"{name}: {equal} of {len(ask)} conversations equal, stop {stops}")
    return bad


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    GRAFT, model, *templates = sys.argv[1:]
    GRAFT = os.path.abspath(GRAFT)
    failures = 0
    with tempfile.TemporaryDirectory() as where:
        with open(f"{where}/render.go", "w") as f:
            f.write(GO)
        run("go", "build", "-o", f"{where}/render", f"{where}/render.go",
            env={**os.environ, "GOCACHE": f"{where}/cache", "GO111MODULE": "off"})
        with open(f"{where}/chat.jsonl", "w") as f:
            f.write(json.dumps({"messages": [{"role": "user", "content": "2 + 2?"},
                                             {"role": "assistant", "content": "4"}]}) + "\n")
        run(GRAFT, "train", "--model", model, "--data", f"{where}/chat.jsonl", "--output-dir",
            f"{where}/adapter", "--max-steps", 1, "--lora-r", 1, "--target-modules", "q_proj")
        config = json.load(open(f"{where}/adapter/tokenizer_config.json"))
        special = {k: config.get(k) for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
        special = {k: v.get("content") if isinstance(v, dict) else v for k, v in special.items()}
        for i, path in enumerate(templates):
            run(GRAFT, "export", "--adapter", f"{where}/adapter", "--model", model, "--format", "ollama",
                "--chat-template", path, "--output", f"{where}/{i}")
            failures += check(path, f"{where}/{i}", special, bool(config.get("add_bos_token")), where)
    print("all equal" if not failures else f"{failures} differ")
    sys.exit(failures > 0)
