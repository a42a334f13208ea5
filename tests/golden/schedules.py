"""Writes schedules.json: learning rates of transformers' own schedulers, for test_schedule.c.

    python3 tests/golden/schedules.py > tests/golden/schedules.json     (transformers 5.23, torch)
"""
import json
import math

import torch
from transformers.optimization import get_scheduler

PLAN = [  # type, keywords, warm-up, total
    ("linear", {}, 2, 9), ("linear", {}, 0, 1), ("linear", {}, 5, 3),
    ("cosine", {}, 2, 9), ("cosine", {"num_cycles": 1.25}, 1, 12),
    ("cosine_with_restarts", {}, 2, 9), ("cosine_with_restarts", {"num_cycles": 3}, 3, 17),
    ("polynomial", {}, 2, 9), ("polynomial", {"lr_end": 1e-5, "power": 2.5}, 0, 11),
    ("constant", {}, 2, 5), ("constant_with_warmup", {}, 3, 7),
    ("inverse_sqrt", {}, 0, 6), ("inverse_sqrt", {}, 3, 9), ("inverse_sqrt", {"timescale": 7}, 2, 9),
    ("cosine_with_min_lr", {"min_lr": 2e-5}, 2, 9),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 0.75}, 0, 9),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}, 3, 9),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5, "warmup_lr_rate": 0.2}, 4, 11),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.0, "warmup_lr_rate": 0.5}, 1, 4),
    ("warmup_stable_decay", {"num_decay_steps": 4}, 3, 12),
    ("warmup_stable_decay", {"num_decay_steps": 5, "num_stable_steps": 2, "min_lr_ratio": 0.1}, 2, 12),
    ("warmup_stable_decay", {"num_decay_steps": 6, "warmup_type": "cosine", "decay_type": "linear"}, 4, 12),
    ("warmup_stable_decay", {"num_decay_steps": 6, "warmup_type": "1-sqrt", "decay_type": "1-sqrt",
                             "min_lr_ratio": 0.05}, 4, 12),
    ("warmup_stable_decay", {"num_decay_steps": 5, "num_cycles": 1.5}, 0, 8),
]
FALLS = [3.0, 2.5, 2.4, 2.4, 2.41, 2.39995, 2.5, 2.6, 2.3, 2.31, 2.32, 2.33, 2.34, 2.35, 2.36, 2.37]
WAVES = [2 + math.sin(0.9 * i) / (1 + 0.05 * i) for i in range(60)]
ADAPTIVE = [
    ("reduce_lr_on_plateau", {}, FALLS), ("reduce_lr_on_plateau", {"patience": 1, "factor": 0.5}, FALLS),
    ("reduce_lr_on_plateau", {"patience": 0, "factor": 0.3, "cooldown": 2, "min_lr": 1e-5}, WAVES),
    ("reduce_lr_on_plateau", {"patience": 2, "threshold": 0.05, "threshold_mode": "abs", "mode": "min",
                              "eps": 1e-5}, WAVES),
    ("greedy", {}, WAVES), ("greedy", {"patience": 0, "min_lr": 1e-5, "max_lr": 3e-4}, FALLS),
    ("greedy", {"patience": 1, "min_lr": 5e-5, "factor": 0.6, "cooldown": 1, "warmup": 2, "reset_start": 2},
     WAVES),
    ("greedy", {"patience": 0, "min_lr": 1.5e-4, "factor": 0.8, "smooth": True, "window_size": 4,
                "reset_start": 3, "threshold_mode": "rel"}, WAVES + WAVES),
]
LR = 2e-4


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def main():
    cases = []
    for name, keywords, warmup, total in PLAN:
        o = optimizer()
        s = get_scheduler(name, o, warmup, total, dict(keywords))
        rates = []
        for _ in range(total):
            rates.append(o.param_groups[0]["lr"])
            o.step()
            s.step()
        cases.append({"type": name, "kwargs": keywords, "warmup": warmup, "total": total, "rates": rates})
    for name, keywords, losses in ADAPTIVE:
        o = optimizer()
        s = get_scheduler(name, o, 0, len(losses), dict(keywords))
        rates = []
        for loss in losses:
            s.step(loss)
            rates.append(o.param_groups[0]["lr"])
        cases.append({"type": name, "kwargs": keywords, "losses": losses, "rates": rates})
    lines = ",\n ".join(json.dumps(c) for c in cases)
    print('{"peak": %r, "cases": [\n %s\n]}' % (LR, lines))


main()
