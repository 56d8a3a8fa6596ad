"""Made-up predicted classes, and rows that have them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from finefuse.predictions import Answers, packed
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
