"""Where lines took a step over the points of a history."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from finefuse.errors import FinefuseError
from finefuse.judge.gate import calibration
from finefuse.judge.gate.policy import Policy
from finefuse.judge.history.scatter import scatter_of
from finefuse.judge.history.steps import cut
from finefuse.judge.history.told import steps_of
from finefuse.types import Record
from helpers.gates import BASE, N, Pair, cells_of, flip
from helpers.histories import look, point, told

LINE = "digits/cnn-s/full"


def rows(build: ModuleType, right: Any = BASE, seeds: int = 2, **fields: Any) -> list[Record]:
    """A line with these answers in all seeds, at one point."""
    scored = build.scores(right) | {"outputs": str(hash(tuple(right)))}
    return [build.row(seed=seed, **scored | {"examples": f"of seed {seed}"} | fields) for seed in range(seeds)]


def timed(build: ModuleType, seconds: float, **fields: Any) -> list[Record]:
    return [build.row("time", **{"latency.1.p50": seconds} | fields)]


# ------------------------------------------------------------------------------------------------- the best cut


def test_the_cut_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        n = int(rng.integers(1, 9))
        values, penalty = rng.normal(size=n) + 3 * (np.arange(n) > n / 2), float(rng.uniform(0.1, 4))

        def cost(starts: tuple[int, ...], values: np.ndarray = values, penalty: float = penalty) -> float:
            edges = [0, *starts, len(values)]
            return penalty * len(starts) + sum(float(values[a:b].var() * (b - a)) for a, b in pairwise(edges))

        every = [starts for k in range(n) for starts in combinations(range(1, n), k)]
        assert cost(tuple(cut(list(values), penalty))) == pytest.approx(min(map(cost, every)))


def test_large_values_lose_nothing() -> None:
    assert cut([1e9, 1e9, 1e9 + 1, 1e9 + 1, 1e9], 0.1) == [2, 4]


# --------------------------------------------------------------------------------------------------- of metrics


def test_a_loss_is_found_where_it_began(build: ModuleType) -> None:
    found = look([rows(build, right) for right in (BASE, BASE, BASE, flip(40, 0), flip(40, 0))])
    assert told(found) == [("3", LINE, "accuracy")]
    (step,) = found.found
    assert (step.old, step.new, step.worse) == (0.9, pytest.approx(0.86), True)
    assert step.series.rows[step.at][0]["seed"] == 0


def test_what_comes_back_is_two_steps(build: ModuleType) -> None:
    found = look([rows(build, right) for right in (BASE, BASE, flip(60, 0), BASE, BASE)])
    assert [(name, step.worse) for (name, *_), step in zip(told(found), found.found, strict=True)] == [
        ("3", False),
        ("2", True),
    ]


@pytest.mark.parametrize(
    "changed",
    [[BASE] * 4, [BASE, flip(8, 8), flip(9, 7), flip(2, 5)], [BASE, flip(4, 0), BASE, flip(3, 0)]],
    ids=["the same bits", "flips both ways", "few flips"],
)
def test_chance_is_no_step(build: ModuleType, changed: list[list[bool]]) -> None:
    assert look([rows(build, right) for right in changed]).found == []


def test_within_the_limit_is_no_step(build: ModuleType) -> None:
    points = [rows(build, right) for right in (BASE, BASE, flip(40, 0))]
    assert told(look(points)) == [("2", LINE, "accuracy")]
    made = [point(str(at), own, fail_on={"accuracy": "5pp"}) for at, own in enumerate(points)]
    assert steps_of(made[0].side.folder, made).found == []


def test_other_metrics_are_judged_by_their_seeds(build: ModuleType) -> None:
    """Of 0.02 from seed to seed a rise by 0.3 is none of chance, and one by 0.02 is."""
    rng = np.random.default_rng(1)

    def at(level: float) -> list[Record]:
        return [row | {"test.nll": level + float(rng.normal(0, 0.02))} for row in rows(build, seeds=5)]

    assert told(look([at(level) for level in (0.3, 0.3, 0.3, 0.6, 0.6)])) == [("3", LINE, "nll")]
    assert look([at(level) for level in (0.3, 0.3, 0.3, 0.32, 0.3)]).found == []


def test_a_change_that_nothing_tells_from_chance_is_counted(build: ModuleType) -> None:
    points = [[row | {"test.nll": nll} for row in rows(build, seeds=1)] for nll in (0.3, 0.3, 0.6)]
    found = look(points)
    assert found.found == []
    assert "1 changed and couldn't be tested: nothing tells what is chance." in found.notes


def test_the_scatter_of_answers_is_that_of_their_flips(build: ModuleType) -> None:
    """Two seeds of other examples, each with 30 flips; an example of both seeds is one observation."""
    apart = look([rows(build, right) for right in (BASE, flip(20, 10))])
    together = look([rows(build, right, examples="the same") for right in (BASE, flip(20, 10))])
    for found, squares in ((apart, 2 * 30), (together, 4 * 30)):
        (series,) = [one for one in found.series if one.measure.name == "accuracy"]
        deviation, freedom = scatter_of(series, Policy(), {})
        assert deviation == pytest.approx(math.sqrt(squares / 2) / (2 * N))
        assert math.isinf(freedom)


# ------------------------------------------------------------------------------------------ of amounts and times


def test_any_change_of_an_amount_is_a_step(build: ModuleType) -> None:
    points = [rows(build, flops=flops) for flops in (1_000_000, 1_000_000, 1_000_001, 900_000)]
    assert told(look(points)) == [("3", LINE, "flops"), ("2", LINE, "flops")]
    assert [step.worse for step in look(points).found] == [False, True]


def test_times_are_held_to_the_noise_that_the_gate_assumes(build: ModuleType) -> None:
    slow = [timed(build, seconds) for seconds in (0.01, 0.011, 0.009, 0.03, 0.032)]
    assert told(look(slow)) == [("3", LINE, "latency.1.p50")]
    assert look([timed(build, seconds) for seconds in (0.01, 0.011, 0.009, 0.013, 0.012)]).found == []
    beside = [timed(build, seconds, contended=True) for seconds in (0.01, 0.011, 0.009, 0.03, 0.032)]
    assert look(beside).found == []


def test_many_points_tell_their_own_noise(build: ModuleType) -> None:
    """Of 2 % noise a rise by 15 % after 15 points is found, which 20 % would hide."""
    rng = np.random.default_rng(2)
    seconds = [level * math.exp(rng.normal(0, 0.02)) for level in [0.01] * 15 + [0.0115] * 15]
    assert told(look([timed(build, one) for one in seconds])) == [("15", LINE, "latency.1.p50")]
    assert look([timed(build, one) for one in seconds[:15]]).found == []


def test_calibrated_noise_is_used_and_told(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [timed(build, seconds) for seconds in (0.01, 0.01, 0.013, 0.013)]
    assert look(points).found == []
    monkeypatch.setattr(calibration, "folder", lambda: tmp_path)
    noise = {"latency": 0.02}
    calibration.write(calibration.Calibration("m1", "cpu", 1, "quick", 5, noise, 0, 20, noise, "2026-01-01"))
    found = look(points)
    assert told(found) == [("2", LINE, "latency.1.p50")]
    assert found.notes[-1].startswith("The noise of runs on m1 is as calibrated with 5 pairs")


def test_how_well_a_latency_is_known_is_no_latency(build: ModuleType) -> None:
    points = [timed(build, 0.01, **{"latency.1.within": within}) for within in (0.001, 0.5)]
    assert {one.measure.name for one in look(points).series if one.measure.name.startswith("latency.1.")} == {
        "latency.1.p50",
        "latency.1.p95",
    }


# -------------------------------------------------------------------------------------- what can be compared


@pytest.mark.parametrize(
    ("name", "fields", "measures"),
    [
        ("results version", {"parts": {"core": "4"}}, {"accuracy", "flops", "train_s"}),
        ("machine", {"machine": "m2"}, {"train_s"}),
        ("device", {"device": "cuda:0"}, {"train_s"}),
        ("protocol of costs", {"costs": 7}, {"train_s"}),
        ("test examples", {"examples": "others"}, {"accuracy"}),
        ("counting of FLOPs", {"parts": {"seed": "0", "counting of FLOPs": "9"}}, {"flops"}),
    ],
)
def test_only_what_can_be_compared_is(build: ModuleType, name: str, fields: dict[str, Any], measures: set[str]) -> None:
    worse = {"flops": 9_000_000, "seconds": 900.0}
    points = [rows(build), rows(build), rows(build, flip(200, 0), **worse), rows(build, flip(200, 0), **worse)]
    assert {measure for *_, measure in told(look(points))} == {"accuracy", "flops", "train_s"}
    found = look([*points[:2], *([row | fields for row in own] for own in points[2:])])
    assert {measure for *_, measure in told(found)} == {"accuracy", "flops", "train_s"} - measures
    (note,) = [note for note in found.notes if note.startswith("Not compared where these differ")]
    assert f"{name} (" in note


def test_machines_take_turns(build: ModuleType) -> None:
    """Each has a series of its own, so the one that is ten times slower makes no step."""
    points = [rows(build, seconds=1.0 + 9 * (at % 2), machine=f"m{at % 2}") for at in range(6)]
    found = look(points)
    assert found.found == []
    assert [list(one.points) for one in found.series if one.measure.name == "train_s"] == [[0, 2, 4], [1, 3, 5]]


def test_a_seed_that_failed_makes_no_step(build: ModuleType) -> None:
    bad = [row | {"status": "failed"} if row["seed"] else row for row in rows(build)]
    better = [rows(build)[0], rows(build, flip(300, 0))[1]]
    found = look([better, better, [better[0], bad[1]], better])
    assert found.found == []
    assert any("seeds (" in note for note in found.notes)


def test_what_else_differs_is_told(build: ModuleType) -> None:
    base = [build.row("pretrain", "", dataset="letters", outputs=f"bits {at}", parts={"a": "1"}) for at in (0, 1)]
    points = [
        point(str(at), [row | {"parts": {"torch": f"2.{at}"}} for row in rows(build, right)], [base[at]])
        for at, right in enumerate((BASE, flip(60, 0)))
    ]
    (beside,) = steps_of(points[0].side.folder, points, measures=["accuracy"]).table()["what else differs"]
    assert beside == "the pretrained cnn-s has other bits, and the same code; torch was 2.0 and is 2.1 (2 rows)"


def test_only_some_measures(build: ModuleType) -> None:
    points = [rows(build), rows(build, flip(200, 0), flops=9)]
    assert {measure for *_, measure in told(look(points, measures=["flops"]))} == {"flops"}
    with pytest.raises(
        FinefuseError, match=r"^results: nothing is measured that is called 'flop'; did you mean 'flops'"
    ):
        look(points, measures=["flop"])


# ------------------------------------------------------------------------------------------------------ how often


def histories(pair: Pair, seed: int, lost: int = 0) -> list[list[Record]]:
    """Eight points of 14 lines with three seeds; 1 % of answers flip each way, and one line loses `lost` halfway."""
    rng = np.random.default_rng(seed)
    base = cells_of(pair, rng, lines=14, seeds=3, n=360)
    points = []
    for at in range(8):
        own = [pair.changed(row, rng, 3, 3) for row in base]
        if at >= 4:
            own = [pair.changed(row, rng, lost) if row["label"] == "line 3" else row for row in own]
        points.append(own)
    return points


@pytest.mark.slow
def test_chance_makes_a_step_in_few_histories_and_two_points_are_found(pair: Pair) -> None:
    """At alpha = 0.05, of 60 histories each; one line loses 2 of 100 answers."""
    runs = 60
    false = sum(bool(look(histories(pair, seed)).found) for seed in range(runs))
    found = [told(look(histories(pair, seed, lost=7), measures=["accuracy"])) for seed in range(runs)]
    assert false <= 7  # more than 7 of 60 at 5 % have a chance of 1 %
    caught = sum(("4", "digits/cnn-s/line 3", "accuracy") in steps for steps in found)
    print(f"false: {false} of {runs}; caught where it began: {caught}; at all: {sum(map(bool, found))}")
    assert caught >= 0.6 * runs
