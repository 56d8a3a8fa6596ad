"""Rows of tasks without right and wrong answers, compared by the loss of each example."""

from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from finefuse.engine.measure.scores import pack_numbers
from finefuse.errors import StoreError
from finefuse.judge.compare import compare
from finefuse.judge.frame import losses
from finefuse.judge.statistics import paired_p
from finefuse.types import Verdict

RNG = np.random.default_rng(0)
BASE = RNG.gamma(2.0, size=400)


def packed(values: Any) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def verdict(folder: Path, build: ModuleType, new: Any) -> Verdict:
    fields = {"correct": None, "metrics": ["mse"], "test.mse": 0.3, "better.mse": "lower", "n_test": len(BASE)}
    rows = [build.row(**fields, examples="same", losses=value, outputs=str(value)) for value in (packed(BASE), new)]
    (found,) = compare(*(build.write(folder / name, [row]) for name, row in zip("ab", rows, strict=True))).cells
    return found


@pytest.mark.parametrize(
    ("new", "judgement"),
    [
        (BASE, "unchanged"),
        (BASE * 1.2, "regressed"),
        (BASE * 0.8, "improved"),
        (BASE + RNG.normal(0, 0.001, BASE.size), "unchanged"),
        (BASE + RNG.normal(0, 1.5, BASE.size), "inconclusive"),
    ],
)
def test_losses_are_compared_in_pairs(tmp_path: Path, build: ModuleType, new: Any, judgement: str) -> None:
    found = verdict(tmp_path, build, packed(new))
    assert found.judgement == judgement
    assert found.reason.startswith("the same losses" if new is BASE else "losses higher on")


def test_losses_that_are_not_finite_are_left_to_the_scores(tmp_path: Path, build: ModuleType) -> None:
    found = verdict(tmp_path, build, packed(np.where(np.arange(400) == 3, np.inf, BASE)))
    assert (found.judgement, found.reason) == (
        "inconclusive",
        "no finite results per example: only its line is tested, over seeds",
    )


@pytest.mark.parametrize("bad", ["no base64!", packed(BASE[:-1]), 7, "AAA="])
def test_damaged_losses(tmp_path: Path, build: ModuleType, bad: Any) -> None:
    with pytest.raises(StoreError, match="`losses`"):
        verdict(tmp_path, build, bad)


def test_they_are_read_as_they_were_written() -> None:
    values = torch.rand(7)
    assert losses({"cell": "c", "n_test": 7, "losses": pack_numbers(values)}).tolist() == values.double().tolist()


def test_the_test_is_student_s() -> None:
    values = RNG.normal(0.1, 1, 30).tolist()
    assert paired_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
    assert (paired_p([0.5]), paired_p([0.5, 0.5]), paired_p([0.0, 0.0])) == (1.0, 0.0, 1.0)
