"""How the scores of several tasks become one figure, what leaves it open, and rows that mix splits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.engine.measure.crossing import crossing_bounds, crossing_fields
from finefuse.engine.measure.scores import pack
from finefuse.errors import FinefuseError, StoreError, SuiteError
from finefuse.judge.aggregate import example_values, halves, over_tasks, tuned_rows, without_mixed
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.frame import correctness
from finefuse.judge.overall import overall
from finefuse.judge.pairing import pair
from finefuse.judge.statistics import mean_interval
from finefuse.rows import wrong_with
from finefuse.types import Ref
from finefuse.types.aggregate import Aggregate
from helpers.crossing import SUITE, TASKS, TINY, splits

UP, DOWN = "higher", "lower"
FIGURES = [
    (("mean-of-ratios", "undefined"), [0.4, 0.9], [0.8, 0.9], [UP, UP], 0.75),
    (("ratio-of-means", "undefined"), [0.4, 0.9], [0.8, 0.9], [UP, UP], 1.3 / 1.7),
    (("mean-of-ratios", "undefined"), [0.4, 0.9], [0.0, 0.9], [UP, UP], math.nan),
    (("mean-of-ratios", "left-out"), [0.4, 0.9], [0.0, 0.9], [UP, UP], 1.0),
    (("ratio-of-means", "undefined"), [0.4, 0.9], [0.0, 0.9], [UP, UP], 1.3 / 0.9),
    (("ratio-of-means", "left-out"), [0.4, 0.9], [0.0, 0.9], [UP, UP], 1.0),
    (("mean-of-ratios", "left-out"), [0.4, 0.9], [0.0, 0.0], [UP, UP], math.nan),
    (("ratio-of-means", "undefined"), [0.4, 0.9], [0.0, 0.0], [UP, UP], math.nan),
    (("mean-of-ratios", "left-out"), [math.nan, 0.9], [0.8, 0.9], [UP, UP], math.nan),
    (("ratio-of-means", "left-out"), [math.nan, 0.9], [0.8, 0.9], [UP, UP], math.nan),
    (("mean-of-ratios", "left-out"), [math.nan, 0.9], [0.0, 0.9], [UP, UP], 1.0),
    (("mean-of-ratios", "undefined"), [2.0, 4.0], [1.0, 4.0], [DOWN, DOWN], 0.75),
    (("ratio-of-means", "undefined"), [2.0, 4.0], [1.0, 4.0], [DOWN, DOWN], 5 / 6),
    (("mean-of-ratios", "undefined"), [0.4, 2.0], [0.8, 1.0], [UP, DOWN], 0.5),
]


@pytest.mark.parametrize(("way", "scores", "own", "better", "figure"), FIGURES)
def test_a_figure_by_hand(way: Any, scores: list[float], own: list[float], better: list[str], figure: float) -> None:
    assert Aggregate(*way).figure(scores, own, better) == pytest.approx(figure, nan_ok=True)


# ---------------------------------------------------------------------------------------------------------------- rows
DATA = {"first": splits(), "second": splits(outputs=4, centres=7)}
ACCURACY = {"accuracy": Registry().build("metric", Ref.of("accuracy"))}


def outputs_of(seed: int) -> dict[str, dict[str, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return {
        name: {
            part: torch.randn(len(data), one.task.outputs, generator=rng)
            for part, data in (("val", one.val), ("test", one.test))
        }
        for name, one in DATA.items()
    }


@pytest.mark.parametrize("way", [Aggregate(), Aggregate("ratio-of-means")])
def test_a_row_has_the_figure_that_is_declared(way: Aggregate) -> None:
    ours, own = outputs_of(1), outputs_of(2)
    fields = crossing_fields(ACCURACY, DATA, ours, own, way)
    scores, owns = (
        [float((outs[name]["test"].argmax(1) == DATA[name].test.y).double().mean()) for name in DATA]
        for outs in (ours, own)
    )
    assert fields["test.normalised"] == pytest.approx(way.figure(scores, owns, [UP, UP]))
    assert fields["aggregate"] == [way.by, way.zero]
    assert [fields[f"task.{name}.n_test"] for name in DATA] == [90, 90]
    bounds = crossing_bounds(ACCURACY, DATA, own, ours, way)
    assert (bounds["single.test.normalised"], bounds["untouched.test.normalised"]) == (1.0, fields["test.normalised"])


USUAL = Aggregate()


def row(seed: int = 0, way: Aggregate = USUAL, n: tuple[int, ...] = (90, 150, 60), **changes: Any) -> dict[str, Any]:
    """A row of three tasks, with bits; the own models' bits are those of `own_rows`."""
    found: dict[str, Any] = {"tasks": list("abc")[: len(n)], "ranked_by": ["acc"] * len(n), "better.acc": UP}
    rng, bits = np.random.default_rng([seed, 1]), []
    for task, count in zip(found["tasks"], n, strict=True):
        mine, theirs = rng.random(count) < 0.7, own_bits(seed, task, count)
        bits.append(mine | (theirs & (rng.random(count) < 0.5)))
        found |= {f"task.{task}.test.acc": bits[-1].mean(), f"task.{task}.own.acc": theirs.mean()}
        found |= {f"task.{task}.n_test": count, f"task.{task}.test.normalised": bits[-1].mean() / theirs.mean()}
    scores, own = ([float(found[f"task.{t}.{of}.acc"]) for t in found["tasks"]] for of in ("test", "own"))
    right = np.concatenate(bits)
    return {
        "kind": "fuse",
        "status": "ok",
        "dataset": "a + b + c",
        "backbone": "net",
        "label": "soup",
        "pool": "p",
        "seed": seed,
        "member": 0,
        "round": 0,
        "cell": f"soup {seed}",
        "key": f"k{seed}",
        "members": 3,
        **{name: float(value) if isinstance(value, np.floating) else value for name, value in found.items()},
        "metrics": ["normalised"],
        "better.normalised": UP,
        "aggregate": [way.by, way.zero],
        "test.normalised": way.figure(scores, own, [UP] * len(n)),
        "val.normalised": 1.0,
        "n_test": len(right),
        "correct": pack(torch.from_numpy(right)),
        "examples": f"all {seed}",
        "examples_of": {task: f"{task} {seed}" for task in found["tasks"]},
        **changes,
    }


def own_bits(seed: int, task: str, n: int) -> Any:
    return np.random.default_rng([seed, ord(task)]).random(n) < 0.85


def own_rows(seed: int = 0, n: tuple[int, ...] = (90, 150, 60)) -> list[dict[str, Any]]:
    same = {"kind": "tune", "status": "ok", "backbone": "net", "label": "full", "pool": "", "member": 0, "round": 0}
    found = []
    for task, count in zip("abc", n, strict=False):
        bits = own_bits(seed, task, count)
        scores = {"metrics": ["acc"], "better.acc": UP, "test.acc": float(bits.mean()), "n_test": count}
        packed = {"correct": pack(torch.from_numpy(bits)), "examples": f"{task} {seed}"}
        found.append(same | {"dataset": task, "seed": seed, "cell": task, "key": task} | scores | packed)
    return found


@pytest.mark.parametrize("way", [Aggregate(), Aggregate("ratio-of-means"), Aggregate("mean-of-ratios", "left-out")])
def test_values_of_examples_have_the_figure_as_their_mean(way: Aggregate) -> None:
    one = row(way=way)
    values = example_values(one, tuned_rows(own_rows()))
    assert values is not None
    assert values.mean() == pytest.approx(one["test.normalised"], rel=1e-5)
    assert example_values(one | {"correct": None}, {}) is None


@pytest.mark.parametrize("way", [Aggregate(), Aggregate("ratio-of-means")])
@pytest.mark.parametrize("known", [True, False])
def test_an_interval_of_examples_is_that_of_a_bootstrap(way: Aggregate, known: bool) -> None:
    """One seed, so that examples are all there is; drawn again by brute force, for both models together."""
    n = (90, 150, 60)
    one, rng = row(way=way), np.random.default_rng(5)
    bits = correctness(one).astype(float)
    figures = []
    for _ in range(2000):
        scores, own, start = [], [], 0
        for task, count in zip("abc", n, strict=True):
            drawn = rng.integers(0, count, count)
            scores.append(bits[start : start + count][drawn].mean())
            mine = own_bits(0, task, count)
            own.append(mine[drawn].mean() if known else mine.mean())
            start += count
        figures.append(way.figure(scores, own, [UP] * 3))
    (half,) = halves([[one]], tuned_rows(own_rows() if known else []))
    assert half == pytest.approx(1.96 * np.std(figures), rel=0.08)


def test_seeds_and_examples_are_combined() -> None:
    seeds = range(3)
    rows, own = [row(seed) for seed in seeds], [one for seed in seeds for one in own_rows(seed)]
    (half,) = halves([rows], tuned_rows(own))
    (alone,) = halves([rows[:1]], tuned_rows(own))
    assert 0.3 * alone < half < 2 * alone
    (students,) = halves([[one | {"correct": None} for one in rows]], {})
    assert students == pytest.approx(mean_interval([one["test.normalised"] for one in rows])[1])


def test_the_interval_over_tasks_is_students_of_their_ratios() -> None:
    rows = [row(seed) for seed in range(2)]
    ratios = [np.mean([one[f"task.{task}.test.normalised"] for one in rows]) for task in "abc"]
    assert over_tasks(rows) == pytest.approx(mean_interval(ratios)[1])
    assert over_tasks([row(way=Aggregate("ratio-of-means"))]) > 0
    assert math.isinf(over_tasks([]))


def test_the_board_shows_the_figure_with_its_intervals() -> None:
    own, rows = own_rows(), [row()]
    board = make_leaderboard("s", [*own, *rows])
    (line,) = board.lines[board.lines["strategy"] == "soup"].to_dict("records")
    (half,) = halves([rows], tuned_rows(own))
    assert (line["interval"], line["aggregate"]) == (half, "mean of ratios, undefined at 0")
    text = board.to_markdown()
    assert f"{rows[0]['test.normalised']:.4f} ± {half:.4f}" in text
    assert f"± {line['tasks.half']:.3f}" in text
    assert "nan" not in text
    assert "normalised: mean of ratios, undefined at 0, of the tasks' scores to those of their own models" in text


# -------------------------------------------------------------------------------------------------------- mixed splits
def test_a_row_that_divides_by_a_score_of_another_split_is_refused() -> None:
    own, sound = own_rows(), row()
    assert without_mixed([*own, sound]) == [*own, sound]
    mixed = sound | {"task.b.own.acc": 0.9798}
    *_, got = without_mixed([*own, mixed])
    assert got["status"] == "failed"
    score = own[1]["test.acc"]
    assert got["reason"] == (
        f"mixes splits: the own model of b has a acc of 0.9798 here, and of {score:.4f} in its own row"
    )
    board = make_leaderboard("s", [*own, mixed])
    (line,) = board.lines[board.lines["strategy"] == "soup"].to_dict("records")
    assert (line["ok"], line["planned"]) == (0, 1)
    assert "mixes splits: the own model of b" in board.to_markdown()


def test_other_test_examples_than_the_own_model_had_are_refused() -> None:
    *_, got = without_mixed([*own_rows(), row(examples_of={"a": "a 0", "b": "elsewhere", "c": "c 0"})])
    assert got["reason"] == "mixes splits: the test examples of b are others than those of its own model"
    assert without_mixed([row(examples_of={"a": "elsewhere"})])[0]["status"] == "ok"  # nothing to hold it against


def test_one_table_has_one_way() -> None:
    with pytest.raises(StoreError, match="is a ratio of means, undefined at 0, and others a mean of ratios"):
        without_mixed([row(), row(1, Aggregate("ratio-of-means"))])


def whole(one: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 1} | one


def test_a_row_that_contradicts_itself_is_refused_when_it_is_read() -> None:
    assert wrong_with(whole(row())) == ""
    said = wrong_with(whole(row(**{"test.normalised": 0.99})))
    assert said.startswith("has 0.99 as `test.normalised`, and its own scores of tasks say ")
    assert wrong_with(whole(row(aggregate=["mean", "undefined"]))).startswith(
        "has ['mean', 'undefined'] as `aggregate`"
    )
    lacking = whole(row())
    del lacking["task.b.own.acc"]
    assert wrong_with(lacking) == "lacks scores of its `tasks`"


# --------------------------------------------------------------------------------------------------------------- suite
def keys(**changes: Any) -> dict[Any, tuple[str, str]]:
    registry = Registry((TINY,))
    plan = make_plan(load_suite(SUITE | {"fusions": ["soup"], "latency": []} | changes, registry), registry)
    return {job.place: (job.key, job.artifact) for job in plan.jobs}


def test_another_way_scores_again_and_merges_nothing_again() -> None:
    usual = keys()
    assert keys(aggregate={"by": "mean-of-ratios", "zero": "undefined"}) == usual
    other = keys(aggregate={"by": "ratio-of-means"})
    assert {place: artifact for place, (_, artifact) in other.items()} == {p: a for p, (_, a) in usual.items()}
    assert {place.kind for place in usual if usual[place] != other[place]} == {"pool", "fuse"}


WRONG = {
    "another": ({"by": "mean"}, "aggregate.by: must be 'mean-of-ratios' or 'ratio-of-means', not \"mean\""),
    "a key": ({"at": 0}, "aggregate.at: unknown key"),
    "apples": (
        {"by": "ratio-of-means"},
        "aggregate.by: adds scores, and the tasks of pool tasks have accuracy and rmse",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_way_that_can_not_be_meant_is_told(case: str) -> None:
    way, sentence = WRONG[case]
    changes = {"datasets": ["points", "line"], "metrics": ["accuracy", "rmse"], "pools": {"tasks": TASKS}}
    with pytest.raises(SuiteError) as caught:
        keys(**changes, aggregate=way)
    assert str(caught.value).startswith(sentence)


def test_no_report_counts_a_row_that_mixes_splits() -> None:
    own, mixed = own_rows(), row(**{"task.b.own.acc": 0.9798})
    assert "soup" not in set(overall([*own, mixed]).tables.get("a + b + c", {"strategy": []})["strategy"])
    with pytest.raises(FinefuseError, match="soup"):
        pair([*own, mixed, row(label="ties", cell="ties")], "soup", "ties")
