#!/usr/bin/env python3
"""Opens reports in a real browser: Chromium without a window and without a network.

    tests/host/train/browser.py build/bin/graft tests/golden/cases/llama-gqa/model [--save FOLDER]
    tests/host/train/browser.py --page out/report.html --save FOLDER

Runs of 3 and of 5000 steps, with and without evaluations and samples, at 380, 800 and 1600 pixels,
light and dark: no error on the console, nothing wider than the window, every section, curve and
table there; the log scale, the colours' switch and the read-out by mouse and keyboard do what they
should; text of the data stays text. --save keeps the screenshots, to be looked at.
77: there is no Chromium."""
import argparse, html, json, os, re, shutil, subprocess, sys, tempfile

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
EVIL = "</script><img src=x onerror=\"console.error('evil')\"><b>bold</b> \u202e\u2028 & \u0007 \u00e9\u4e2d"

# Runs in the page behind its own script; what it finds goes to the page around it.
PROBE = """<script>
addEventListener("error", e => found.errors.push(String(e.message)));
const found = { errors: [] };
setTimeout(() => {
  const all = q => [...document.querySelectorAll(q)];
  const wide = () => document.documentElement.scrollWidth - innerWidth;
  found.overflow = wide();
  found.sections = all("h2").map(e => e.textContent);
  found.charts = all(".charts h3").map(e => e.textContent);
  found.paths = all(".charts path").filter(p => p.getAttribute("d").includes("L") || true).map(p => p.getAttribute("d"));
  found.labels = all(".charts text").map(e => e.textContent);
  found.bold = all("main b, main img").length;
  found.theme = document.documentElement.dataset.theme;
  const plot = all(".charts svg")[0];
  if (plot) {
    const r = plot.getBoundingClientRect();
    plot.dispatchEvent(new PointerEvent("pointermove", { clientX: r.left + r.width * 0.6, clientY: r.top + 20 }));
    found.read = all(".charts .read")[0].textContent;
    plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    found.next = all(".charts .read")[0].textContent;
    const before = all(".charts path")[0].getAttribute("d");
    const log = all(".charts button")[0];
    if (log) log.click();
    found.logged = !log || before !== all(".charts path")[0].getAttribute("d");
    if (log) log.click();
  }
  for (const d of all("details")) d.open = true;
  const button = document.querySelector("header button");
  button.click();
  found.other = document.documentElement.dataset.theme;
  button.click();
  setTimeout(() => {
    found.open = wide();
    found.cells = all("td").length;
    for (const d of all("details")) d.open = false;
    parent.postMessage(found, "*");
  }, 50);
}, 100);
</script>
"""
FRAME = """<!doctype html><style>body { margin: 0 } iframe { border: 0; display: block }</style>
<script>addEventListener("message", e => { document.title = "found"; document.body.dataset.found = JSON.stringify(e.data); });</script>
<iframe src="page.html" width="%d" height="%d"></iframe>"""


def browse(page, folder, width, height, dark, picture):
    """What the probe found; the messages of the console are errors."""
    text = open(page, encoding="utf-8").read()
    with open(os.path.join(folder, "page.html"), "w", encoding="utf-8") as f:
        f.write(text.replace("</body>", PROBE + "</body>"))
    frame = os.path.join(folder, "frame.html")
    with open(frame, "w") as f:
        f.write(FRAME % (width, height))
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
               "--user-data-dir=" + os.path.join(folder, "profile"), "--host-resolver-rules=MAP * ~NOTFOUND",
               "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000", "--disable-features=IsolateOrigins,site-per-process", "--allow-file-access-from-files",
               f"--window-size={max(width, 500)},{height}", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    if picture:
        subprocess.run(command + ["--screenshot=" + picture, "file://" + frame], check=True, capture_output=True, timeout=120)
    done = subprocess.run(command + ["--dump-dom", "file://" + frame], check=True, capture_output=True, text=True, timeout=120)
    console = [l for l in done.stderr.splitlines() if "CONSOLE" in l]
    assert not console, console
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, "the page does not answer:\n" + done.stderr[-2000:]
    return json.loads(html.unescape(found.group(1)))


def check(name, found, dark, evals, samples):
    want = ["Course"] + (["Samples"] if samples else []) + ["Data", "Memory", "Options", "Provenance"]
    assert not found["errors"], (name, found["errors"])
    assert found["sections"] == want, (name, found["sections"])
    assert found["overflow"] <= 0 and found["open"] <= 0, (name, found["overflow"], found["open"])
    charts = ["Loss", "Gradient norm", "Learning rate", "Tokens per second"] + (["Evaluation token accuracy"] if evals else [])
    assert found["charts"] == charts, (name, found["charts"])
    bad = [p for p in found["paths"] + found["labels"] if "NaN" in p or "Infinity" in p or "undefined" in p]
    assert not bad, (name, bad[:3])
    assert found["bold"] == 0, name
    assert found["theme"] == ("dark" if dark else "light") and found["other"] != found["theme"], name
    assert found["read"].startswith("step ") and found["next"] != "" and found["logged"], (name, found["read"], found["next"])
    assert found["cells"] > 60, name


def runs(graft, model, folder):
    """(name, page, evaluations?, samples?)"""
    with open(os.path.join(folder, "data.jsonl"), "w") as f:
        for e in range(40):
            f.write(json.dumps({"input_ids": [3 + (13 * e + 17 * t) % 90 for t in range(12 + e % 9)]}) + "\n")
    for name, more in (("3", ["--max-steps", "3"]),
                       ("5000", ["--max-steps", "5000", "--eval-split", "0.2", "--eval-steps", "250", "--save-steps", "5000",
                                 "--lr-scheduler-type", "cosine", "--warmup-steps", "100"])):
        subprocess.run([graft, "train", "--model", model, "--data", "data.jsonl", "--output-dir", name, "--threads", "1", *more],
                       cwd=folder, check=True, stderr=subprocess.DEVNULL)
        yield name, os.path.join(folder, name, "report.html"), name == "5000", False
    # the short run's page once more, with samples that no honest model would give
    page = open(os.path.join(folder, "3", "report.html"), encoding="utf-8").read()
    lines = [{"step": s, "index": i, "prompt": EVIL, "answer": EVIL * 3, "tokens": 9, "ended": i == 0,
              **({"wanted": EVIL} if i else {})} for s in (0, 1, 2, 3) for i in range(2)]
    text = json.dumps(lines).replace("<", "\\u003c").replace("&", "\\u0026")
    assert '"samples":[]' in page
    path = os.path.join(folder, "samples.html")
    with open(path, "w", encoding="utf-8") as f:
        f.write(page.replace('"samples":[]', '"samples":' + text))
    yield "samples", path, False, True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graft", nargs="?")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--page")
    parser.add_argument("--save")
    o = parser.parse_args()
    if not CHROMIUM:
        print("skipped: there is no chromium (Debian's package is called so)")
        return 77
    if o.save:
        os.makedirs(o.save, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = [("page", o.page, None, None)] if o.page else runs(os.path.abspath(o.graft), os.path.abspath(o.model), folder)
        for name, page, evals, samples in pages:
            for width, height, dark in ((1600, 2400, False), (800, 2600, True), (380, 3600, False)):
                shot = f"{name}-{width}{'-dark' if dark else ''}"
                picture = os.path.abspath(os.path.join(o.save, shot + ".png")) if o.save else None
                found = browse(page, folder, width, height, dark, picture)
                if evals is not None:
                    check(shot, found, dark, evals, samples)
                assert not found["errors"] and found["overflow"] <= 0, (shot, found["errors"], found["overflow"])
                print(f"{shot}: {len(found['charts'])} curves, {found['read']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
