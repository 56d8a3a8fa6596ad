from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from finefuse.errors import FinefuseError, StoreError
from finefuse.judge.compare import SEVERITY, Comparison, compare
from finefuse.types import Cell, Record, Verdict
from helpers.rows_on_disk import AWKWARD

N = 1000
PLACE = Cell("tune", "digits", "cnn-s", "full", "", 0, 0, 0, 0)
CELL = str(PLACE)


def flip(lost: int, won: int, n: int = N) -> list[bool]:
    """Of a base that has the first 900 right, `lost` of these are wrong now and `won` others right."""
    return [lost <= i < 900 or 900 <= i < 900 + won for i in range(n)]


BASE = flip(0, 0)


class Pair:
    """Two results folders in the making."""

    def __init__(self, folder: Path, build: ModuleType) -> None:
        self.folder, self.build = folder, build

    def compare(self, base: list[Record], new: list[Record], *, planned: Any = None, **options: float) -> Comparison:
        """Compare what stands in two fresh folders."""
        old = self.build.write(self.folder / "base", base)
        now = self.build.write(self.folder / "new", new, planned)
        return compare(old, now, **options)

    def one(self, base: Record | None, new: Record | None, **options: float) -> tuple[Verdict, bool]:
        """The verdict on one cell, beside another cell that is the same, and whether the gate passes."""
        same = self.row(seed=9)
        found = self.compare([same, *([base] if base else [])], [same, *([new] if new else [])], **options)
        (verdict,) = [verdict for verdict in found.verdicts if "/s9/" not in verdict.cell]
        return verdict, found.passed

    def row(self, right: Any = BASE, **fields: Any) -> Record:
        """An ok row with these bits."""
        row: Record = self.build.row(**self.build.scores(right) | {"seed": 0} | fields)
        return row


@pytest.fixture
def pair(tmp_path: Path, build: ModuleType) -> Pair:
    return Pair(tmp_path, build)


# ---------------------------------------------------------------------------------------------- tested cells


@pytest.mark.parametrize(
    ("lost", "won", "judgement", "passes"),
    [
        (40, 5, "regressed", False),
        (5, 40, "improved", True),
        (0, 0, "unchanged", True),
        (1, 1, "unchanged", True),
        (0, 1, "unchanged", True),
        (60, 55, "inconclusive", True),
        (9, 2, "inconclusive", True),
        (6, 0, "regressed", False),
        (0, 6, "improved", True),
    ],
)
def test_a_changed_cell(pair: Pair, lost: int, won: int, judgement: str, passes: bool) -> None:
    verdict, passed = pair.one(pair.row(), pair.row(flip(lost, won)))
    assert (verdict.judgement, passed) == (judgement, passes)
    assert [verdict.base, verdict.new] == pytest.approx([0.9, (900 - lost + won) / N])
    expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert verdict.p == pytest.approx(expected)
    assert verdict.cell == CELL
    assert verdict.reason == (f"{lost} of {N} examples lost, {won} won" if lost + won else "the same examples right")


def test_the_margin_is_what_counts_as_unchanged(pair: Pair) -> None:
    base, new = pair.row(), pair.row(flip(15, 12))
    assert pair.one(base, new)[0].judgement == "inconclusive"
    assert pair.one(base, new, margin=0.02)[0].judgement == "unchanged"
    assert pair.one(base, pair.row(flip(1, 0)), margin=0.0)[0].judgement == "inconclusive"
    assert pair.one(base, base, margin=0.0)[0].judgement == "unchanged"


def test_alpha_is_what_counts_as_significant(pair: Pair) -> None:
    base, new = pair.row(), pair.row(flip(9, 1))
    assert pair.one(base, new)[0].judgement == "regressed"
    assert pair.one(base, new, alpha=0.01)[0].judgement == "inconclusive"


def test_many_tested_cells_are_corrected_for(pair: Pair) -> None:
    """p = 0.039 for one cell is no regression among five; cells with the same bits don't count."""
    base = [pair.row(seed=seed) for seed in range(30)]
    few = [pair.row(flip(8, 1) if seed == 0 else BASE, seed=seed) for seed in range(30)]
    many = [pair.row(flip(8, 1) if seed == 0 else flip(3, 3) if seed < 5 else BASE, seed=seed) for seed in range(30)]
    alone, among = pair.compare(base, few), pair.compare(base, many)
    p = stats.binomtest(1, 9).pvalue
    first = alone.verdicts[0]
    assert (first.cell, first.judgement, first.reason) == (CELL, "regressed", "8 of 1000 examples lost, 1 won")
    assert first.p == pytest.approx(p)
    assert among.passed
    (verdict,) = [verdict for verdict in among.verdicts if verdict.cell == CELL]
    assert verdict.judgement == "inconclusive"
    assert verdict.p == pytest.approx(5 * p)


def test_the_gate_keeps_its_level_over_all_cells(pair: Pair) -> None:
    """Ten cells that differ by chance alone: in about 5 % of comparisons, here of 60, is any of them called changed."""
    rng = np.random.default_rng(0)
    base = [pair.row(seed=seed) for seed in range(10)]
    alarms = 0
    for _ in range(60):
        flips = rng.multinomial(60, [0.5, 0.5], size=10).tolist()
        found = pair.compare(base, [pair.row(flip(*each), seed=seed) for seed, each in enumerate(flips)])
        alarms += bool({"regressed", "improved"} & found.counts.keys())
    assert alarms <= 7


def test_nll_may_move_as_it_likes(pair: Pair) -> None:
    verdict, passed = pair.one(pair.row(), pair.row(**{"test.nll": 9.0}))
    assert (verdict.judgement, passed) == ("unchanged", True)


# --------------------------------------------------------------------------------------------- cells that aren't tested


@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "skipped", "blocked"])
def test_a_cell_that_broke(pair: Pair, status: str) -> None:
    verdict, passed = pair.one(pair.row(), pair.build.row(status=status, reason="it broke"))
    assert (verdict.judgement, verdict.reason, passed) == ("failed", f"{status}: it broke", False)
    assert verdict.base == 0.9
    assert math.isnan(verdict.new)


@pytest.mark.parametrize("before", ["failed", "timeout", "oom", "skipped", "blocked"])
def test_a_cell_that_was_broken_before(pair: Pair, before: str) -> None:
    old = pair.build.row(status=before)
    verdict, passed = pair.one(old, pair.row())
    assert (verdict.judgement, verdict.reason, passed) == ("new", f"{before} in the base", True)
    assert [verdict.base, verdict.new, verdict.p] == pytest.approx([math.nan, 0.9, math.nan], nan_ok=True)
    verdict, passed = pair.one(old, pair.build.row(status="failed"))
    assert (verdict.judgement, passed) == ("failed", False)
    verdict, passed = pair.one(old, None)
    assert (verdict.judgement, passed) == ("not-comparable", True)


def test_skipped_in_both_is_no_failure(pair: Pair) -> None:
    verdict, passed = pair.one(pair.build.row(status="skipped"), pair.build.row(status="skipped", reason="no ancestor"))
    assert (verdict.judgement, verdict.reason, passed) == ("not-comparable", "skipped in both: no ancestor", True)
    verdict, passed = pair.one(pair.build.row(status="blocked"), pair.build.row(status="skipped"))
    assert (verdict.judgement, passed) == ("failed", False)


@pytest.mark.parametrize("score", [math.nan, None])
@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_nan_fails_the_gate(pair: Pair, metric: str, score: float | None) -> None:
    verdict, passed = pair.one(pair.row(), pair.row(**{f"test.{metric}": score}))
    assert (verdict.judgement, verdict.reason, passed) == ("failed", f"{metric} is NaN", False)
    assert pair.one(None, pair.row(**{f"test.{metric}": score}))[0].judgement == "failed"


def test_nan_in_the_base(pair: Pair) -> None:
    verdict, passed = pair.one(pair.row(**{"test.accuracy": math.nan}), pair.row())
    assert (verdict.judgement, verdict.reason, passed) == ("new", "NaN in the base", True)


def test_a_cell_that_disappeared(pair: Pair) -> None:
    verdict, passed = pair.one(pair.row(), None)
    assert (verdict.judgement, verdict.reason, passed) == ("missing", "not in the new results", False)


def test_a_planned_cell_without_a_row(pair: Pair) -> None:
    same = pair.row(seed=9)
    others = [PLACE._replace(**field) for field in ({"kind": "time"}, {"kind": "pool"}, {"member": 2}, {"round": 1})]
    found = pair.compare([same], [same], planned=[PLACE, *others])
    assert [(verdict.cell, verdict.judgement) for verdict in found.verdicts] == [
        (CELL, "missing"),
        (same["cell"], "unchanged"),
    ]
    assert not found.passed
    old = pair.build.row(status="failed")
    assert pair.compare([same, old], [same], planned=[PLACE]).counts["missing"] == 1


@pytest.mark.parametrize("name", AWKWARD)
def test_a_planned_cell_without_a_row_is_missed_whatever_it_is_called(pair: Pair, name: str) -> None:
    absent = PLACE._replace(dataset=name, label=name)
    found = pair.compare([pair.row()], [pair.row()], planned=[absent, absent._replace(member=1)])
    assert [(verdict.cell, verdict.judgement) for verdict in found.verdicts] == [
        (str(absent), "missing"),
        (CELL, "unchanged"),
    ]


def test_a_cell_that_only_a_former_plan_tells_of_is_missed(pair: Pair) -> None:
    pair.build.write(pair.folder / "new", [pair.row()])
    cells = [[CELL, f"key of {CELL}"], ["anything", "k"]]
    (pair.folder / "new" / "plan.json").write_text(json.dumps({"suite": "demo", "cells": cells}))
    found = compare(pair.build.write(pair.folder / "base", [pair.row()]), pair.folder / "new")
    assert [(verdict.cell, verdict.judgement) for verdict in found.verdicts] == [
        ("anything", "missing"),
        (CELL, "unchanged"),
    ]


def test_cells_with_one_text_are_compared_each_with_its_own(pair: Pair) -> None:
    one, two = pair.row(dataset="a/b", backbone="c"), pair.row(flip(300, 0), dataset="a", backbone="b/c")
    assert pair.compare([one, two], [two, one]).counts == {"unchanged": 2}


def test_a_new_cell(pair: Pair) -> None:
    verdict, passed = pair.one(None, pair.row())
    assert (verdict.judgement, verdict.reason, passed) == ("new", "not in the base", True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"examples": "others"}, "other test examples"),
        ({"examples": None}, "other test examples"),
        ({"metrics": ["nll", "accuracy"]}, "ranked by accuracy in the base, by nll now"),
        ({"correct": None, "outputs": "others"}, "neither answers nor losses per example to test"),
        ({"correct": None, "outputs": None}, "neither answers nor losses per example to test"),
    ],
)
def test_what_is_not_comparable(pair: Pair, fields: dict[str, object], reason: str) -> None:
    verdict, passed = pair.one(pair.row(), pair.row(**fields))
    assert (verdict.judgement, verdict.reason, passed) == ("not-comparable", reason, True)
    alone = pair.compare([pair.row()], [pair.row(**fields)])
    assert not alone.passed
    assert "No cell could be compared" in alone.to_markdown()


def test_another_number_of_examples(pair: Pair) -> None:
    assert pair.one(pair.row(), pair.row(flip(0, 0, 990)))[0].judgement == "not-comparable"


def test_regression_can_be_found_unchanged(pair: Pair) -> None:
    fields = {"correct": None, "metrics": ["mse"], "test.mse": 0.3, "better.mse": "lower"}
    verdict, passed = pair.one(pair.row(**fields), pair.row(**fields))
    assert (verdict.judgement, verdict.reason, passed) == ("unchanged", "the same outputs", True)
    assert (verdict.base, verdict.new) == (0.3, 0.3)


def test_only_lines_of_the_board_are_compared(pair: Pair) -> None:
    others = [pair.build.row(member=2), pair.build.row("time"), pair.build.row("pretrain", label="")]
    fused = pair.build.row("fuse", "soup", pool="p")
    found = pair.compare([pair.row(), fused, *others], [pair.row(), fused])
    assert [verdict.cell for verdict in found.verdicts] == [CELL, fused["cell"]]
    assert found.passed


def test_the_last_planned_row_counts(pair: Pair) -> None:
    stale = pair.row(flip(300, 0), key="an old key")
    found = pair.compare([pair.row()], [stale, pair.row(), stale], planned=[])
    assert found.counts == {"regressed": 1}  # without the key in the plan the last one would
    keys = pair.build.write(pair.folder / "new", [stale, pair.row()], planned=[PLACE])
    assert compare(pair.folder / "base", keys).counts == {"unchanged": 1}


# ---------------------------------------------------------------------------------------------- what fails to be read


def test_a_baseline_that_is_not_there(pair: Pair, tmp_path: Path) -> None:
    new = pair.build.write(tmp_path / "new", [pair.row()])
    for base in (tmp_path / "none", tmp_path):
        with pytest.raises(StoreError, match="no results here"):
            compare(base, new)
        with pytest.raises(StoreError, match="no results here"):
            compare(new, base)


def test_a_baseline_without_a_line(pair: Pair) -> None:
    with pytest.raises(StoreError, match="baseline has no row of a scheme or fusion"):
        pair.compare([pair.build.row("time")], [pair.row()])


def test_a_damaged_baseline(pair: Pair, tmp_path: Path) -> None:
    new = pair.build.write(tmp_path / "new", [pair.row()])
    base = pair.build.write(tmp_path / "base", [pair.row(), pair.row(seed=1)])
    (base / "records.jsonl").write_text("{\n" + (base / "records.jsonl").read_text())
    with pytest.raises(StoreError, match=r"records.jsonl:1: is not a JSON object"):
        compare(base, new)
    with pytest.raises(StoreError, match="has a `correct` that is not base64"):
        pair.one(pair.row(), pair.row(correct="?"))


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": math.nan}, {"margin": -0.1}])
def test_levels_that_make_no_sense(pair: Pair, options: dict[str, float]) -> None:
    with pytest.raises(FinefuseError, match="alpha must lie between 0 and 1"):
        pair.one(pair.row(), pair.row(), **options)


# ---------------------------------------------------------------------------------------------- as it is read


def test_the_table_has_the_worst_first_and_no_unchanged(pair: Pair) -> None:
    labels = ["same", "gone", "broken", "worse", "better", "other", "unclear"]
    base = [pair.row(label=label) for label in labels]
    base = [row | {"cell": f"tune/d/b/{row['label']}//s0/m0/r0"} for row in base]
    cells = {row["label"]: row for row in base}
    new = [
        cells["same"],
        cells["broken"] | {"status": "failed", "reason": "a | b\nc"},
        cells["worse"] | pair.build.scores(flip(100, 0)),
        cells["better"] | pair.build.scores(flip(0, 100)),
        cells["other"] | {"examples": "x"},
        cells["unclear"] | pair.build.scores(flip(50, 45)),
        cells["same"] | {"cell": "tune/d/b/fresh//s0/m0/r0", "label": "fresh"},
    ]
    found = pair.compare(base, new)
    assert [verdict.judgement for verdict in found.verdicts] == list(SEVERITY)
    text = found.to_markdown()
    assert text.startswith(f"# FAILED: {found.new} against {found.base}\n\n1 regressed, 1 failed, 1 missing, ")
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert [row.split("|")[1].strip() for row in rows] == list(SEVERITY[:-1])
    assert "0.9000 | 0.8000 |  -0.1000 |" in rows[0]
    assert "failed: a \\| b c" in rows[1]
    assert found._repr_markdown_() == text


def test_when_nothing_changed_there_is_no_table(pair: Pair) -> None:
    text = pair.compare([pair.row()], [pair.row()]).to_markdown()
    assert text.splitlines()[0].startswith("# passed: ")
    assert text.splitlines()[2:] == ["1 unchanged."]
