"""Made-up predicted classes, and rows that have them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from finefuse.judge.frame import correctness
from finefuse.predictions import Answers, Predictions, packed
from finefuse.types import Record


def answers(names: int = 3, n: int = 40, seed: int = 0, task: str = "") -> Answers:
    rng = np.random.default_rng(seed)
    true, told = rng.integers(0, names, n), tuple(f"class {i}" for i in range(names))
    return Answers(task, told, true, np.where(rng.random(n) < 0.7, true, rng.integers(0, names, n)))


def of(build: ModuleType, *found: Answers, key: str = "ab12", **fields: Any) -> tuple[Record, Record]:
    """A row and its predictions, as a worker hands them over."""
    made = packed(found)
    right = np.concatenate([one.true == one.predicted for one in found]).tolist()
    return build.row(key=key, predicted=made["predicted"], **build.scores(right), **fields), made["predictions"]


def predicted(row: Record, names: tuple[str, ...], folder: Path) -> Record:
    """The row, with predicted classes in the folder that agree with its bits: what is wrong is taken for the next."""
    right = correctness(row)
    true = np.random.default_rng(row["seed"]).integers(0, len(names), len(right))
    made = packed([Answers("", names, true, np.where(right, true, (true + 1) % len(names)))])
    Predictions(folder).keep(row, made["predictions"], set())
    return row | {"predicted": made["predicted"]}
