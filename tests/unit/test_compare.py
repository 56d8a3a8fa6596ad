from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from finefuse.errors import FinefuseError, StoreError
from finefuse.judge.compare import SEVERITY, compare
from finefuse.types import Cell
from helpers.gates import BASE, N, Pair, flip
from helpers.rows_on_disk import AWKWARD

PLACE = Cell("tune", "digits", "cnn-s", "full", "", 0, 0, 0, 0)
CELL = str(PLACE)


# ---------------------------------------------------------------------------------------------- tested cells


@pytest.mark.parametrize(
    ("lost", "won", "judgement", "passes"),
    [
        (40, 5, "regressed", False),
        (5, 40, "improved", True),
        (0, 0, "unchanged", True),
        (1, 1, "inconclusive", True),
        (0, 1, "inconclusive", True),
        (60, 55, "inconclusive", True),
        (9, 4, "inconclusive", True),
        (5, 0, "regressed", False),
        (0, 5, "improved", True),
        (4, 0, "inconclusive", True),
    ],
)
def test_a_changed_cell(pair: Pair, lost: int, won: int, judgement: str, passes: bool) -> None:
    verdict, passed = pair.one(pair.row(), pair.row(flip(lost, won), outputs="others"))
    assert (verdict.judgement, passed) == (judgement, passes)
    assert [verdict.base, verdict.new] == pytest.approx([0.9, (900 - lost + won) / N])
    assert verdict.change == pytest.approx((won - lost) / N)
    expected = stats.binomtest(max(lost, won), lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert verdict.p == pytest.approx(min(1, expected / 0.8), abs=0.07)  # 0.8 of alpha is for answers
    assert (verdict.cell, verdict.measure, verdict.scope) == (CELL, "accuracy", "cell")
    assert verdict.reason == (f"{lost} of {N} answers lost, {won} won" if lost + won else "the same examples right")


def test_significant_but_inside_the_margin_is_no_regression(pair: Pair) -> None:
    base, new = pair.row(), pair.row(flip(15, 0), outputs="others")
    assert pair.one(base, new)[0].judgement == "regressed"
    verdict, passed = pair.one(base, new, margin="1.5pp")
    assert (verdict.judgement, passed) == ("unchanged", True)
    assert verdict.reason == "15 of 1000 answers lost, 0 won; significant, but within the limit of 0.015"
    assert pair.one(base, new, margin=0.0149)[0].judgement == "regressed"
    assert pair.one(base, new, fail_on={"accuracy": "1.7%"})[0].judgement == "unchanged"
    assert pair.one(base, new, fail_on={"accuracy": "1.6%"})[0].judgement == "regressed"


def test_an_interval_within_the_margin_is_unchanged(pair: Pair) -> None:
    base, new = pair.row(), pair.row(flip(15, 12), outputs="others")
    assert pair.one(base, new)[0].judgement == "inconclusive"
    assert pair.one(base, new, margin=0.02)[0].judgement == "unchanged"


def test_alpha_is_what_counts_as_significant(pair: Pair) -> None:
    base, new = pair.row(), pair.row(flip(9, 1), outputs="others")
    assert pair.one(base, new)[0].judgement == "regressed"
    assert pair.one(base, new, alpha=0.01)[0].judgement == "inconclusive"


def test_many_tested_cells_are_corrected_for(pair: Pair) -> None:
    """p = 0.02 for one cell is no regression among five; cells with the same bits don't count."""
    base = [pair.row(seed=seed, label=f"line {seed}") for seed in range(30)]
    alone = [row | pair.scored(flip(8, 1)) if row["seed"] == 0 else row for row in base]
    among = [row | pair.scored(flip(3, 3)[::-1]) if 0 < row["seed"] < 5 else row for row in alone]
    mirrored = [row | pair.scored(BASE[::-1]) if 0 < row["seed"] < 5 else row for row in base]
    assert pair.compare(base, alone).counts == {"regressed": 1, "unchanged": 29}
    found = pair.compare(mirrored, among)
    assert found.counts == {"inconclusive": 5, "unchanged": 25}


def test_a_verdict_says_what_it_could_have_seen(pair: Pair) -> None:
    verdict, _ = pair.one(pair.row(), pair.row(flip(15, 12), outputs="others"))
    assert 0.01 < verdict.visible < 0.03
    found = pair.compare([pair.row()], [pair.row(flip(15, 12), outputs="others")])
    (resolution,) = found.resolution
    assert resolution.loss == pytest.approx(verdict.visible, rel=0.15)
    said = f"This comparison would have caught {100 * resolution.loss:.2g} points of accuracy lost in all cells."
    assert said in found.to_markdown()
    assert pair.compare([pair.row()], [pair.row(flip(15, 12))], resolve="3pp").passed
    blind = pair.compare([pair.row()], [pair.row(flip(15, 12))], resolve="1pp")
    assert not blind.passed
    assert blind.failures == (f"{resolution} 1 points were to be visible.",)


# --------------------------------------------------------------------------------------------- cells that aren't tested


@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "skipped", "blocked"])
def test_a_cell_that_broke(pair: Pair, status: str) -> None:
    verdict, passed = pair.one(pair.row(), pair.build.row(status=status, reason="it broke"))
    assert (verdict.judgement, verdict.reason, passed) == ("failed", f"{status}: ValueError: it broke", False)
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
    assert (verdict.judgement, passed) == ("not-comparable", False)
    assert pair.one(old, None, allow=["not-comparable"])[1]


def test_skipped_in_both_is_no_failure(pair: Pair) -> None:
    verdict, passed = pair.one(pair.build.row(status="skipped"), pair.build.row(status="skipped", reason="no ancestor"))
    assert (verdict.judgement, verdict.reason, passed) == ("skipped", "skipped in both: no ancestor", True)
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
    others = [PLACE._replace(**field) for field in ({"kind": "pool"}, {"member": 2}, {"round": 1})]
    found = pair.compare([same], [same], planned=[PLACE, PLACE._replace(kind="time"), *others])
    assert [verdict.cell for verdict in found.verdicts if verdict.judgement == "missing"] == [
        CELL,
        CELL.replace("tune/", "time/"),
    ]
    assert not found.passed
    assert found.failures[0] == f"The plan of the new results names 5 cells without a row, such as {CELL}."
    old = pair.build.row(status="failed")
    assert pair.compare([same, old], [same], planned=[PLACE]).counts["missing"] == 1


@pytest.mark.parametrize("name", AWKWARD)
def test_a_planned_cell_without_a_row_is_missed_whatever_it_is_called(pair: Pair, name: str) -> None:
    absent = PLACE._replace(dataset=name, label=name)
    found = pair.compare([pair.row()], [pair.row()], planned=[absent, absent._replace(member=1)])
    assert [(verdict.cell, verdict.judgement) for verdict in found.cells] == [
        (str(absent), "missing"),
        (CELL, "unchanged"),
    ]


def test_a_cell_that_only_a_former_plan_tells_of_is_missed(pair: Pair) -> None:
    pair.build.write(pair.folder / "new", [pair.row()])
    cells = [[CELL, f"key of {CELL}"], ["anything", "k"]]
    (pair.folder / "new" / "plan.json").write_text(json.dumps({"suite": "demo", "cells": cells}))
    found = compare(pair.build.write(pair.folder / "base", [pair.row()]), pair.folder / "new")
    assert [(verdict.cell, verdict.judgement) for verdict in found.cells] == [
        ("anything", "missing"),
        (CELL, "unchanged"),
    ]


def test_cells_with_one_text_are_compared_each_with_its_own(pair: Pair) -> None:
    one, two = pair.row(dataset="a/b", backbone="c"), pair.row(flip(300, 0), dataset="a", backbone="b/c")
    assert pair.compare([one, two], [two, one]).counts == {"unchanged": 2}


def test_a_new_cell(pair: Pair) -> None:
    verdict, passed = pair.one(None, pair.row())
    assert (verdict.judgement, verdict.reason, passed) == ("new", "not in the base", True)
    assert not pair.one(None, pair.row(), fatal=["new"])[1]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"examples": "others"}, "other test examples"),
        ({"examples": None}, "other test examples"),
        ({"metrics": ["nll", "accuracy"]}, "ranked by accuracy in the base, by nll now"),
        ({"metrics": ["accuracy"]}, "nll is no longer measured"),
        ({"better.accuracy": "lower"}, "accuracy was better when higher, and now when the opposite"),
        ({"correct": None, "outputs": "others"}, "only one of the two says how each example went"),
        ({"correct": None, "outputs": None}, "only one of the two says how each example went"),
    ],
)
def test_what_is_not_comparable_fails_unless_it_is_allowed(pair: Pair, fields: dict[str, object], reason: str) -> None:
    verdict, passed = pair.one(pair.row(), pair.row(**fields))
    assert (verdict.judgement, verdict.reason, passed) == ("not-comparable", reason, False)
    assert pair.one(pair.row(), pair.row(**fields), allow=["not-comparable"])[1]
    alone = pair.compare([pair.row()], [pair.row(**fields)], allow=["not-comparable"])
    assert not alone.passed
    assert "No cell could be compared" in alone.to_markdown()


def test_another_number_of_examples(pair: Pair) -> None:
    assert pair.one(pair.row(), pair.row(flip(0, 0, 990)))[0].judgement == "not-comparable"


def test_regression_can_be_found_unchanged(pair: Pair) -> None:
    fields = {"correct": None, "metrics": ["mse"], "test.mse": 0.3, "better.mse": "lower"}
    verdict, passed = pair.one(pair.row(**fields), pair.row(**fields))
    assert (verdict.judgement, verdict.reason, passed) == ("unchanged", "the same outputs", True)
    assert (verdict.base, verdict.new) == (0.3, 0.3)


def test_only_lines_of_the_board_and_their_latencies_are_compared(pair: Pair) -> None:
    others = [pair.build.row(member=2), pair.build.row("pretrain", label="")]
    fused = pair.build.row("fuse", "soup", pool="p")
    found = pair.compare([pair.row(), fused, *others], [pair.row(), fused])
    assert [verdict.cell for verdict in found.cells] == [CELL, fused["cell"]]
    assert found.passed
    timed = pair.build.row("time")
    found = pair.compare([pair.row(), timed], [pair.row()])
    assert [(v.cell, v.judgement) for v in found.verdicts if v.measure == "latency"] == [(timed["cell"], "missing")]
    assert not found.passed


def test_the_last_planned_row_counts(pair: Pair) -> None:
    stale = pair.row(flip(300, 0), key="an old key")
    old, now = (pair.build.write(pair.folder / name, rows) for name, rows in (("base", [pair.row()]), ("new", [stale])))
    found = compare(old, now)
    assert found.counts == {"regressed": 1}  # without the key in the plan the last one would
    keys = pair.build.write(pair.folder / "new", [stale, pair.row()], planned=[PLACE])
    assert compare(pair.folder / "base", keys).counts["unchanged"] == 1


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


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": math.nan}, {"margin": 1.5}])
def test_levels_that_make_no_sense(pair: Pair, options: dict[str, float]) -> None:
    with pytest.raises(FinefuseError, match="alpha must lie between 0 and 1"):
        pair.one(pair.row(), pair.row(), **options)


# ---------------------------------------------------------------------------------------------- as it is read


def test_the_table_has_the_worst_first_and_nothing_unchanged(pair: Pair) -> None:
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
    assert [verdict.judgement for verdict in found.cells] == [j for j in SEVERITY if j != "skipped"]
    text = found.to_markdown()
    assert text.startswith(
        f"# FAILED: {found.new} against {found.base}\n\n- Of cells: 1 regressed, 1 failed, 1 missing"
    )
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert [row.split("|")[1].strip() for row in rows] == [*SEVERITY[:4], "improved", "new"]
    assert "0.9000 | 0.8000 |  -0.1000 |" in rows[0]
    assert "failed: a \\| b c" in rows[1]
    assert found._repr_markdown_() == text
    assert "Of the planned cells 6 of 7 are ok, 7 of 7 in the base." in text


def test_when_nothing_changed_there_is_no_table(pair: Pair) -> None:
    text = pair.compare([pair.row()], [pair.row()]).to_markdown()
    assert text.splitlines()[0].startswith("# passed: ")
    assert text.splitlines()[2].startswith("Cells: 1 unchanged. Lines: ")
    assert "|" not in text


def test_a_long_table_is_cut(pair: Pair) -> None:
    rows = [pair.row(seed=seed, label=f"line {seed}") for seed in range(50)]
    text = pair.compare(rows[:1], rows).to_markdown()
    assert sum(line.startswith("| new") for line in text.splitlines()) == 20
    assert text.endswith("29 more are not shown.")
