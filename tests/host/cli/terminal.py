#!/usr/bin/env python3
"""Trains on terminals of several widths and looks at what each shows.

    tests/host/cli/terminal.py build/bin/graft tests/golden/cases/llama-gqa/model [--save FOLDER]

On a terminal of 60, 80 and 200 columns, in UTF-8 and in ASCII, and on one that changes its width
while the run goes on: no line reaches the last column (nothing wraps), the last line is that of the
last step and stands whole, every phase is seen. --save keeps the recordings (cat shows them)."""
import argparse, fcntl, json, os, pty, re, select, signal, struct, subprocess, sys, tempfile, termios

CONTROL = re.compile(r"\x1b\[[0-9?]*[A-Za-z]")
STEPS = 24


def data(path):
    with open(path, "w") as f:
        for e in range(2 * STEPS):
            ids = [3 + (13 * e + 17 * t) % 90 for t in range(24 + e % 5)]
            f.write(json.dumps({"input_ids": ids}) + "\n")


def set_columns(fd, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def record(command, columns, locale, resize=None):
    """All that the terminal gets. resize: columns that it has from the sixth step on."""
    leader, follower = pty.openpty()
    set_columns(follower, columns)
    env = dict(os.environ, TERM="xterm", LC_ALL=locale, CUDA_VISIBLE_DEVICES="")
    child = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env,
                             start_new_session=True)
    os.close(follower)
    out, resized = b"", None
    while True:
        ready = select.select([leader], [], [], 0.1)[0]
        try:
            piece = os.read(leader, 65536) if ready else b""
        except OSError:  # the other side is closed
            break
        if ready and not piece:
            break
        out += piece
        if resize and resized is None and b"step  6/" in out:
            set_columns(leader, resize)
            child.send_signal(signal.SIGWINCH)
            resized = len(out)
    os.close(leader)
    if child.wait() != 0:
        sys.exit(f"{columns} columns: exit code {child.returncode}:\n{out.decode()}")
    return out.decode(), resized


def lines_of(text):
    """What stood on a line at some time: between returns, newlines and erasures."""
    return [CONTROL.sub("", l) for l in re.split(r"[\r\n]|\x1b\[J", text)]


def check(name, text, columns, utf8):
    bars = [l for l in lines_of(text) if re.match(r"(step|evaluate|save|sample) +\d+/", l)]
    bad = [l for l in bars if len(l) >= columns]
    assert not bad, f"{name}: {len(bad[0])} of {columns} columns: {bad[0]}"
    last = [l for l in lines_of(text) if l.startswith(f"step {STEPS}/{STEPS}")][-1]
    ends = r"(took [\d.]+ (s|min \d+ s)|loss [\d.]+|\d+%)$"  # whole values, however few fit
    assert re.search(ends, last), f"{name}: {last}"
    assert "loss " in last, f"{name}: {last}"
    for phase in ("evaluate", "save", "step"):
        assert any(l.startswith(phase + " ") for l in bars), f"{name}: no line of {phase}"
    edge = "\u2595" if utf8 else "["
    assert edge in last or columns < 60, f"{name}: no bar in {last}"
    assert utf8 or text.isascii(), f"{name}: not ASCII"
    return last


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graft")
    parser.add_argument("model")
    parser.add_argument("--save")
    o = parser.parse_args()
    if not os.path.exists(os.path.join(o.model, "config.json")):
        print(f"skipped: there is no model in {o.model}")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "data.jsonl")
        data(examples)
        for i, (columns, locale, resize) in enumerate(
            [(60, "C.UTF-8", None), (80, "C.UTF-8", None), (200, "C.UTF-8", None), (80, "C", None),
             (30, "C", None), (200, "C.UTF-8", 50), (40, "C.UTF-8", 100)]):
            name = f"{columns}{f'-{resize}' if resize else ''}-{locale}"
            command = [o.graft, "train", "--model", o.model, "--data", examples, "--eval-data", examples,
                       "--output-dir", os.path.join(folder, f"out{i}"), "--batch-size", "2", "--device", "cpu",
                       "--threads", "1", "--eval-steps", "8", "--save-steps", "8"]
            text, resized = record(command, columns, locale, resize)
            utf8 = "UTF-8" in locale
            if resize:
                # what was on its way when the width changed may still have the old one: a line or two
                after = text[text.index("step  9/"):]
                last = check(name, after, resize, utf8)
            else:
                last = check(name, text, columns, utf8)
            print(f"{name:>16}  {last}")
            if o.save:
                os.makedirs(o.save, exist_ok=True)
                with open(os.path.join(o.save, name + ".txt"), "w") as f:
                    f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
