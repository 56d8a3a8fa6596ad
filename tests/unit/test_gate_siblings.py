"""Relatives of what once passed, see test_gate_samples.py: losses in some cells, costs of one, scores of one line."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from finefuse.errors import FinefuseError, StoreError
from finefuse.types import Record
from helpers.gates import Pair, Rows, cells_of

Change = Callable[[Record], Record]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def timed(pair: Pair, rng: np.random.Generator) -> Rows:
    """Six lines of three seeds, each with a latency."""
    return cells_of(pair, rng, 6, 3, 200) + [pair.build.row("time", f"line {i}") for i in range(6)]


def in_line_2(rows: Rows, change: Change, *, kind: str = "tune", seeds: tuple[int, ...] = (0, 1, 2)) -> Rows:
    """The rows, of which those of one line are changed."""
    own = [row["kind"] == kind and row["label"] == "line 2" and row["seed"] in seeds for row in rows]
    return [change(row) if here else row for row, here in zip(rows, own, strict=True)]


def times(prefix: str, factor: float) -> Change:
    return lambda row: {name: value * factor if name.startswith(prefix) else value for name, value in row.items()}


def test_losses_in_half_of_the_cells_fail(pair: Pair, rng: np.random.Generator) -> None:
    base = cells_of(pair, rng, 34, 3, 1497)
    new = [pair.changed(row, rng, 10) if i % 2 else row for i, row in enumerate(base)]
    assert pair.compare(base, new).failures[0] == "Of everything together: 1 regressed."


@pytest.mark.parametrize("lost", [3, 10])
def test_losses_spread_over_data_sets_fail(pair: Pair, rng: np.random.Generator, lost: int) -> None:
    base = [row | {"dataset": f"set {i % 12}"} for i, row in enumerate(cells_of(pair, rng, 20, 3, 360))]
    found = pair.compare(base, [pair.changed(row, rng, lost) for row in base])
    assert found.failures[0] == "Of everything together: 1 regressed."
    (whole,) = [verdict for verdict in found.verdicts if verdict.scope == "comparison"]
    assert whole.reason == f"{60 * lost} of 21600 answers lost, 0 won"


@pytest.mark.parametrize("measure", ["flops", "parameters", "bytes", "steps", "gradients"])
def test_one_cell_that_costs_twice_as_much_fails(pair: Pair, rng: np.random.Generator, measure: str) -> None:
    base = timed(pair, rng)
    found = pair.compare(base, in_line_2(base, times(measure, 2), seeds=(1,)))
    (verdict,) = [verdict for verdict in found.verdicts if verdict.judgement == "regressed"]
    assert verdict.reason == "1.33 times as much; the limit is 0%"


@pytest.mark.parametrize(
    ("change", "kind", "worse"),
    [
        (times("peak_memory", 2), "tune", {"memory"}),
        (times("latency", 50), "time", {"latency.1.p50", "latency.1.p95", "latency.64.p50", "latency.64.p95"}),
        (times("test.nll", 5), "tune", {"nll"}),
    ],
)
def test_one_line_is_enough(pair: Pair, rng: np.random.Generator, change: Change, kind: str, worse: set[str]) -> None:
    base = timed(pair, rng)
    found = pair.compare(base, in_line_2(base, change, kind=kind))
    assert {verdict.measure for verdict in found.verdicts if verdict.judgement == "regressed"} == worse
    assert not found.passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "many"])
@pytest.mark.parametrize("field", ["flops", "seconds", "peak_memory"])
def test_a_cost_that_is_no_number_is_refused(pair: Pair, rng: np.random.Generator, field: str, value: object) -> None:
    base = timed(pair, rng)
    with pytest.raises(StoreError, match=f"line 2//s1/.* has .* as `{field}`, where a .*number from 0"):
        pair.compare(base, in_line_2(base, lambda row: row | {field: value}, seeds=(1,)))


def test_all_latencies_gone_and_some_failed_fail(pair: Pair, rng: np.random.Generator) -> None:
    base = timed(pair, rng)
    gone = pair.compare(base, [row for row in base if row["kind"] != "time"])
    assert gone.failures == ("Of cells: 6 missing.",)
    broken = in_line_2(base, lambda row: row | {"status": "oom", "reason": "full"}, kind="time")
    assert pair.compare(base, broken).failures == ("Of cells: 1 failed.",)


def test_new_results_cut_in_half_and_a_dropped_seed_fail(pair: Pair, rng: np.random.Generator) -> None:
    base = timed(pair, rng)
    assert pair.compare(base, base[:12]).failures == ("Of cells: 12 missing.",)
    assert pair.compare(base, [row for row in base if row["seed"] != 2]).failures == ("Of cells: 6 missing.",)


def test_test_examples_that_nobody_names_or_that_are_fewer_fail(pair: Pair, rng: np.random.Generator) -> None:
    base = timed(pair, rng)
    unnamed = in_line_2(base, lambda row: {name: value for name, value in row.items() if name != "examples"})
    fewer = in_line_2(base, lambda row: row | pair.scored([True] * 100))
    for new in (unnamed, fewer):
        assert pair.compare(base, new).failures == ("Of cells: 3 not-comparable.",)


@pytest.mark.parametrize(("won", "passes"), [(4, True), (0, False)])
def test_two_points_in_half_of_the_cells_on_another_machine(
    pair: Pair, rng: np.random.Generator, won: int, passes: bool
) -> None:
    """Other last digits flip both ways; what only loses isn't the machine."""
    base = timed(pair, rng)
    other = [row | {"machine": "m2"} for row in base]
    new = [pair.changed(row, rng, 4, won) if i % 2 and row["kind"] != "time" else row for i, row in enumerate(other)]
    assert pair.compare(base, new).passed == passes


@pytest.mark.parametrize(("now", "worse"), [(0.6, 3), (math.inf, 3), (0.4, 0)])
def test_rmse_a_fifth_worse_over_three_seeds_fails(
    pair: Pair, rng: np.random.Generator, now: float, worse: int
) -> None:
    def rows(rmse: float) -> Rows:
        fields = {"metrics": ["rmse"], "better.rmse": "lower", "correct": None}
        cells = cells_of(pair, rng, 3, 3, 200)
        return [
            {name: value for name, value in row.items() if not name.endswith(("accuracy", "nll"))}
            | fields
            | {"test.rmse": rmse * (1 + 0.01 * row["seed"]), "outputs": f"{rmse} {i}"}
            for i, row in enumerate(cells)
        ]

    found = pair.compare(rows(0.5), rows(now))
    assert sum(verdict.judgement == "regressed" for verdict in found.lines) == worse
    assert found.passed == (not worse)
    turned = [row | {"better.rmse": "higher"} for row in rows(now)]
    assert pair.compare(rows(0.5), turned).counts == {"not-comparable": 9}


def test_one_seed_that_is_less_than_twice_as_bad_is_fatal_if_asked_for(pair: Pair, rng: np.random.Generator) -> None:
    base = [row for row in timed(pair, rng) if row["seed"] == 0 and row["kind"] != "time"]
    new = [times("test.nll", 1.5)(row) | {"outputs": f"others {i}"} for i, row in enumerate(base)]
    assert pair.compare(base, new).passed
    assert not pair.compare(base, new, fail_on={"nll": "20%"}).passed
    assert not pair.compare(base, new, fatal=["inconclusive"]).passed
    lost = [row | {"seconds": None, "peak_memory": None} for row in base]
    found = pair.compare(base, lost)
    assert (found.passed, found.passed_over) == (True, {"train_s not measured now": 6, "memory not measured now": 6})


def test_what_is_left_is_judged_where_the_ranking_metric_is_off(pair: Pair, rng: np.random.Generator) -> None:
    base = timed(pair, rng)
    off = {"accuracy": "off"}
    assert pair.compare(base, in_line_2(base, lambda row: pair.changed(row, rng, 50)), fail_on=off).passed
    assert pair.compare(base, in_line_2(base, times("flops", 2)), fail_on=off).failures == ("Of lines: 1 regressed.",)
    exact = ("nll", "flops", "parameters", "trainable", "size", "steps", "gradients")
    nothing = pair.compare(base, base, fail_on=off | dict.fromkeys(exact, "off"))
    assert nothing.failures == ("No cell could be compared, so nothing was checked.",)


@pytest.mark.parametrize("limit", [1, 5, "100pp", "200%"])
@pytest.mark.parametrize("measure", ["accuracy", "coverage"])
def test_a_limit_that_nothing_exceeds_is_refused(
    pair: Pair, rng: np.random.Generator, measure: str, limit: str | int
) -> None:
    base = timed(pair, rng)
    with pytest.raises(
        FinefuseError, match=rf"^{measure}: a limit of \d+%? lets everything pass, .* one point is 1pp\.$"
    ):
        pair.compare(base, base, fail_on={measure: limit})


@pytest.mark.parametrize(("name", "end"), [("flop", "; did you mean 'flops'?"), ("zzz", "train_s, trainable.")])
def test_a_measure_that_nobody_knows_is_one_sentence(pair: Pair, rng: np.random.Generator, name: str, end: str) -> None:
    base = timed(pair, rng)
    with pytest.raises(FinefuseError) as error:
        pair.compare(base, base, fail_on={name: 0})
    assert str(error.value).endswith(end)
    assert str(error.value).startswith(f"nothing is measured that is called '{name}'; ")
