"""Writes autogluon.npz: the weights that EnsembleSelection of autogluon.core 1.6.3 gives random members.

    pip install autogluon.core==1.6.3 && python make_autogluon.py

With `--time FILE.npz` it writes nothing, but selects among the members in the file, logits z (members, examples,
classes) for labels y, and prints the seconds, those of the processor, and the weights.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from autogluon.core.metrics import accuracy, mean_squared_error
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

MEMBERS, VAL, CLASSES, ROUNDS, SEEDS = 8, 120, 4, 25, 4


def softmax(z):
    e = np.exp((z - z.max(-1, keepdims=True)).astype(np.float64))
    return e / e.sum(-1, keepdims=True)


def select(predictions, y, kind, metric, rounds=ROUNDS):
    selection = EnsembleSelection(rounds, kind, metric, tie_breaker="second_metric")
    return selection.fit(list(predictions), y).weights_


def main():
    out = {}
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, CLASSES, VAL)
        logits = rng.normal(size=(MEMBERS, VAL, CLASSES)).astype(np.float32)
        logits[:, np.arange(VAL), y] += rng.uniform(0.2, 1.0, (MEMBERS, 1))
        target = rng.normal(size=VAL).astype(np.float32)
        values = (target + rng.normal(size=(MEMBERS, 1)) / 4 + rng.normal(size=(MEMBERS, VAL))).astype(np.float32)
        out |= {f"z{seed}": logits, f"y{seed}": y, f"values{seed}": values, f"target{seed}": target}
        out[f"classes{seed}"] = select(softmax(logits), y, "multiclass", accuracy)
        out[f"regression{seed}"] = select(values, target, "regression", mean_squared_error)
    np.savez_compressed(Path(__file__).with_name("autogluon.npz"), **out)


def timed(path):
    given = np.load(path)
    p = softmax(given["z"])
    start = time.perf_counter(), time.process_time()
    weights = select(p, given["y"], "multiclass", accuracy)
    print(time.perf_counter() - start[0], time.process_time() - start[1], weights.tolist())


if __name__ == "__main__":
    timed(sys.argv[2]) if sys.argv[1:2] == ["--time"] else main()
