#!/usr/bin/env python3
"""bench-table.py FILE - bench's JSON lines as Markdown tables, one for each run of equal fields."""
import json
import sys

COMMON = {"schema", "git", "build", "host", "cublas", "nccl", "bench", "samples", "t_p10",
          "t_p90", "t_median_us", "flops", "bytes", "peak_tf", "peak_gbps", "max_abs"}


def text(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def main():
    fields = None
    for line in open(sys.argv[1], encoding="utf-8"):
        if not line.strip():
            continue
        row = json.loads(line)
        names = [name for name in row if name not in COMMON and not isinstance(row[name], dict)]
        if names != fields:
            print("\n| " + " | ".join(names) + " |\n|" + " --- |" * len(names))
            fields = names
        print("| " + " | ".join(text(row[name]) for name in names) + " |")
    if fields is None:
        print("No results.")


if __name__ == "__main__":
    main()
