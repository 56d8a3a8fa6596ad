"""Times from pairs of runs: the test, the questions it is asked, and what is said when runs of one side disagree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from finefuse.judge.compare import Comparison, compare
from finefuse.judge.gate.pairs import ALL, STEADIEST, paired
from finefuse.types import Record, Verdict
from helpers.gates import Pair
from helpers.loading import loaded

LINES = ("full", "head-sgd", "lp-ft")
Rows = list[Record]
Repeated = Callable[..., Comparison]


@pytest.fixture
def rows(pair: Pair) -> Rows:
    """One run of three lines on two seeds, with what it was pretrained from, and latencies."""
    found = [pair.build.row("pretrain", "", dataset="letters", seconds=9.0, cpu_seconds=8.0)]
    for seed in range(2):
        for label in LINES:
            found.append(pair.row(label=label, seed=seed, outputs=f"{label} {seed}", peak_memory=10**8))
            found.append(pair.build.row("time", label, seed=seed))
    return found


@pytest.fixture
def repeated(pair: Pair, tmp_path: Path) -> Repeated:
    """Compares runs of two sides in pairs."""

    def judge(bases: Sequence[Rows], news: Sequence[Rows], **options: Any) -> Comparison:
        folders = []
        for i, both in enumerate(zip(bases, news, strict=True)):
            names = (f"base-{i}", f"new-{i}")
            folders.append(
                tuple(pair.build.write(tmp_path / name, own, ()) for name, own in zip(names, both, strict=True))
            )
        return compare(*folders[0], folders[1:], **options)

    return judge


def noisy(rows: Rows, rng: np.random.Generator, noise: float = 0.01, only: str = "", **factors: float) -> Rows:
    """The rows with other times, and of one line or all of them these fields that many times as large."""
    found = []
    for row in rows:
        changed = dict(row)
        for name in row:
            if name in ("seconds", "cpu_seconds") or name.startswith("latency."):
                changed[name] = row[name] * math.exp(rng.normal(0, noise))
        if only in ("", row["label"]):
            changed |= {name: type(row[name])(changed[name] * by) for name, by in factors.items() if row.get(name)}
        found.append(changed)
    return found


def runs(rows: Rows, seed: int, pairs: int = 5, **changes: Any) -> tuple[list[Rows], list[Rows]]:
    rng = np.random.default_rng(seed)
    both = [(noisy(rows, rng), noisy(rows, rng, **changes)) for _ in range(pairs)]
    return [old for old, _ in both], [new for _, new in both]


def total(found: Comparison) -> Verdict:
    (verdict,) = [verdict for verdict in found.verdicts if verdict.cell == ALL]
    return verdict


# ------------------------------------------------------------------------------------------------ the test


def test_it_is_students_test_of_logarithms_beyond_the_limit() -> None:
    logs, least = [0.11, 0.08, 0.12, 0.07, 0.1], math.log(1.02)
    found = paired(logs, least)
    assert found.worse == pytest.approx(stats.ttest_1samp(logs, least, alternative="greater").pvalue)
    assert found.better == pytest.approx(stats.ttest_1samp(logs, -least, alternative="less").pvalue)
    assert found.gain == pytest.approx(1 - math.exp(np.mean(logs)))
    mirrored = paired([-one for one in logs], least)
    assert (mirrored.better, mirrored.worse) == pytest.approx((found.worse, found.better))


def test_pairs_that_agree_by_chance_are_not_taken_for_certain() -> None:
    found = paired([0.1] * 5, 0.0)
    assert found.noise == pytest.approx(STEADIEST / math.sqrt(5))
    assert 0 < found.worse < 1e-4
    assert paired([0.001] * 5, 0.0).worse > 0.3


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """studies/gate/pairs.py."""
    return loaded(Path(__file__).parents[2] / "studies" / "gate" / "pairs.py")


def test_five_simulated_pairs_catch_a_tenth_and_raise_no_alarm(study: ModuleType) -> None:
    """As published simulations of gates have it: 5 % from run to run, of which pairs share nine tenths, 1 % within."""
    rng = np.random.default_rng(1)
    noise = study.SCENES["a shared runner: 5 %, 1 %"]
    caught = [study.found(study.ratios(rng, 5, *noise) + math.log(1.1))[0] for _ in range(100)]
    assert sum(caught) >= 85
    assert not any(any(study.found(study.ratios(rng, 5, *noise))) for _ in range(200))


# ------------------------------------------------------------------------------------------------ what it is asked


def test_all_jobs_a_tenth_slower(rows: Rows, repeated: Repeated) -> None:
    found = repeated(*runs(rows, 0, cpu_seconds=1.1, seconds=1.2))
    verdict = total(found)
    assert (verdict.judgement, verdict.scope, verdict.measure, found.passed) == (
        "regressed",
        "comparison",
        "train_s",
        False,
    )
    assert verdict.base == pytest.approx(8 + 6 * 1.4, rel=0.02)
    assert verdict.change == pytest.approx(-0.1, abs=0.02)
    assert verdict.reason.startswith("1.09 times in 5 pairs, 95 % from 1.0")
    assert "; by the clock 1.19 times" in verdict.reason
    (note,) = found.notes
    assert note.startswith(f"Processor seconds of all jobs: {verdict.reason}; a slowdown of ")
    assert found.counts == {"unchanged": 6}
    assert "all jobs" in found.to_markdown()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_slower(rows: Rows, repeated: Repeated, seed: int) -> None:
    found = repeated(*runs(rows, seed))
    assert found.passed
    assert {verdict.judgement for verdict in found.verdicts} <= {"unchanged", "inconclusive"}


def test_faster_is_an_improvement(rows: Rows, repeated: Repeated) -> None:
    found = repeated(*runs(rows, 0, cpu_seconds=0.8))
    assert (total(found).judgement, found.passed) == ("improved", True)


def test_one_line_is_named(rows: Rows, repeated: Repeated) -> None:
    found = repeated(*runs(rows, 0, only="lp-ft", cpu_seconds=1.5))
    worse = [verdict for verdict in found.lines if verdict.judgement == "regressed"]
    assert [(verdict.cell, verdict.measure) for verdict in worse] == [("digits/cnn-s/lp-ft", "train_s")]
    assert worse[0].base == pytest.approx(1.4, rel=0.02)  # the mean over seeds


@pytest.mark.parametrize(("measure", "field"), [("latency.64.p50", "latency.64.p50"), ("memory", "peak_memory")])
def test_latency_and_memory_of_lines(rows: Rows, repeated: Repeated, measure: str, field: str) -> None:
    found = repeated(*runs(rows, 0, only="full", **{field: 1.5}))
    worse = [verdict for verdict in found.verdicts if verdict.judgement == "regressed"]
    assert [(verdict.cell, verdict.measure) for verdict in worse] == [("digits/cnn-s/full", measure)]


def test_limits_are_those_that_are_given(rows: Rows, repeated: Repeated) -> None:
    slower = runs(rows, 0, cpu_seconds=1.1)
    assert total(repeated(*slower, fail_on={"train_s": "20%"})).judgement == "unchanged"
    assert not [v for v in repeated(*slower, fail_on={"train_s": "off"}).verdicts if v.measure == "train_s"]
    slightly = repeated(*runs(rows, 0, cpu_seconds=1.015))
    assert total(slightly).judgement in ("unchanged", "inconclusive")


def test_a_limit_in_seconds_is_one_of_each_job_however_many_seeds_a_line_has(rows: Rows, repeated: Repeated) -> None:
    slower = runs(rows, 0, only="full", cpu_seconds=1.25)
    for limit, judged in (("0.5", "unchanged"), ("0.1", "regressed")):
        found = repeated(*slower, fail_on={"train_s": limit})
        (line,) = [v for v in found.lines if (v.cell, v.measure) == ("digits/cnn-s/full", "train_s")]
        assert line.judgement == judged, limit


def test_on_a_gpu_the_clock_counts(rows: Rows, repeated: Repeated) -> None:
    there = [{**row, "device": "cuda:0"} for row in rows]
    assert total(repeated(*runs(there, 0, seconds=1.2))).judgement == "regressed"
    assert total(repeated(*runs(there, 0, cpu_seconds=1.2))).judgement != "regressed"


def test_networks_that_were_given_cost_nothing(rows: Rows, repeated: Repeated) -> None:
    given = [row | ({"given": {"full": {"file": "a"}}} if row["label"] == "full" else {}) for row in rows]
    assert total(repeated(*runs(given, 0))).base == pytest.approx(8 + 4 * 1.4, rel=0.02)


# ------------------------------------------------------------------------------------------------ runs that disagree


def test_what_is_not_ok_in_every_run(rows: Rows, repeated: Repeated, pair: Pair) -> None:
    bases, news = runs(rows, 0)
    news[3] = [
        pair.build.row(status="failed", label="full", seed=0) if row["cell"] == rows[1]["cell"] else row
        for row in news[3]
    ]
    found = repeated(bases, news)
    assert found.failures == (
        f"In the new side's first run 1 cells were ok and not in a later one, such as {rows[1]['cell']}.",
    )
    assert found.passed_over == {"cells not ok in every run": 1}


def test_a_side_whose_own_runs_have_other_bits(rows: Rows, repeated: Repeated) -> None:
    bases, news = runs(rows, 0)
    bases[2] = [row | ({"outputs": "chance"} if row["cell"] == rows[1]["cell"] else {}) for row in bases[2]]
    found = repeated(bases, news)
    assert any(
        note.startswith("The base's own runs differ in 1 cells, such as tune/digits/cnn-s/full") for note in found.notes
    )
    assert found.passed


def test_what_is_not_measured_in_every_run(rows: Rows, repeated: Repeated) -> None:
    bases, news = runs(rows, 0)
    news[1] = [row | {"peak_memory": None} for row in news[1]]
    found = repeated(bases, news)
    assert found.passed_over == {"memory not measured in every run": 6}
    older = [{name: value for name, value in row.items() if name != "cpu_seconds"} for row in rows]
    assert total(repeated(*runs(older, 0, seconds=1.2))).judgement == "regressed"
