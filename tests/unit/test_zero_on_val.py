"""What is chosen on val for several tasks, where a task's own model scores 0 there: as the suite's `aggregate` says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import finefuse
from finefuse import Classification, Entry, hookimpl
from finefuse.types import Data, Splits
from helpers.crossing import SUITE, TINY, splits


@dataclass(frozen=True)
class Contrary:
    """Every class 2 of `points` is in val, and train and test have none: nothing can be learned of it."""

    seed: int = 0
    task = Classification(3, "tabular", (4,))

    def fingerprint(self) -> str:
        return ""

    def splits(self, seed: int) -> Splits:
        of = splits(centres=3)
        parts = (of.train, of.val, of.test)
        x, y = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y"))
        known = [Data(part.x[part.y < 2], part.y[part.y < 2]) for part in (of.train, of.test)]
        return Splits(self.task, known[0], Data(x[y == 2], y[y == 2]), known[1])


class Plugins:
    @hookimpl
    def finefuse_datasets(self):
        yield Entry("contrary", Contrary)


CHOSEN = {
    "listed": {"use": "task-arithmetic", "as": "listed", "choose": {"scaling": [0.0, 0.4, 0.8]}},
    "searched": {"use": "search", "of": "task-arithmetic", "trials": 3, "sampler": "grid", "as": "searched"},
    "itself": {"use": "wise-ft", "a": "val", "as": "itself"},
}
UNMEASURED = "the own model of contrary scores 0 on val, and nothing can be chosen by it; "


def ran(folder: Path, datasets: list[Any], **changes: Any) -> list[dict[str, Any]]:
    suite = SUITE | {"datasets": datasets, "fusions": ["soup", *CHOSEN.values()], "latency": []} | changes
    how: dict[str, Any] = {"device": "cpu", "workers": 0, "quiet": True, "plugins": [TINY, Plugins()]}
    return finefuse.run(suite, out=folder / "out", store=folder / "store", **how).rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rows by what becomes of the task; the first run leaves what it chose in the store of the second."""
    folder = tmp_path_factory.mktemp("zero")
    both: list[Any] = ["points", "contrary"]
    return {zero: ran(folder, both, aggregate={"zero": zero}) for zero in ("left-out", "undefined")}


def of(rows: list[dict[str, Any]], label: str) -> dict[str, Any]:
    (row,) = [row for row in rows if row["kind"] == "fuse" and row["label"] == label]
    return row


def test_the_own_model_scores_0_on_val_and_not_on_test(rows):
    left_out, undefined = (of(rows[zero], "soup") for zero in ("left-out", "undefined"))
    assert left_out["task.contrary.own.accuracy"] > 0.4
    assert left_out["val.normalised"] == left_out["task.points.val.normalised"]
    assert math.isnan(undefined["val.normalised"])
    assert left_out["test.normalised"] == undefined["test.normalised"]


@pytest.mark.parametrize("label", CHOSEN)
def test_undefined_chooses_nothing_and_says_why(rows, label):
    row = of(rows["undefined"], label)
    assert row["status"] == "skipped"
    assert "on val is 0" in row["reason"] if label == "itself" else row["reason"].startswith(UNMEASURED)


@pytest.mark.parametrize("label", ["listed", "searched"])
def test_left_out_chooses_by_the_other_tasks(rows, label):
    row = of(rows["left-out"], label)
    tried = [one for one in rows["left-out"] if one["kind"] == "trial" and one["label"] == label]
    assert len(tried) == 3
    best = max(tried, key=lambda one: one["task.points.val.accuracy"])
    assert (row["status"], row["outputs"]) == ("ok", best["outputs"])
    assert best["task.points.val.normalised"] == pytest.approx(best["quality"])


def test_left_out_lets_a_fusion_choose_by_the_other_tasks(rows):
    assert of(rows["left-out"], "itself")["status"] == "ok"


def test_nothing_is_chosen_where_no_task_is_left(tmp_path):
    other = {"use": "contrary", "seed": 1}
    rows = ran(tmp_path, ["contrary", other], fusions=list(CHOSEN.values()), aggregate={"zero": "left-out"})
    for label in CHOSEN:
        assert of(rows, label)["reason"].startswith("the own models of all tasks score 0 on val, and nothing can be")
