"""What once passed and must not: losses too small for any single cell, baselines cut in half, costs, other metrics."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from finefuse.judge.compare import compare
from finefuse.types import Record
from helpers.gates import Pair, Rows, cells_of, scaled

RNG = np.random.default_rng()


@pytest.fixture(autouse=True)
def _the_same_draws_whatever_ran_before() -> None:
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def judged(pair: Pair, base: Rows, new: Rows, **options: Any) -> list[str]:
    """What is not unchanged, inconclusive or skipped, as scope, measure and judgement."""
    found = pair.compare(base, new, **options)
    assert found.passed == (not found.failures)
    loud = [v for v in found.verdicts if v.judgement not in ("unchanged", "inconclusive", "skipped")]
    return [
        "passed" if found.passed else "failed",
        *dict.fromkeys(f"{v.scope} {v.measure} {v.judgement}" for v in loud),
    ]


# ----------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(("lines", "seeds", "n", "lost"), [(34, 3, 1497, 5), (20, 3, 360, 10), (60, 1, 360, 10)])
def test_a_small_loss_in_every_cell_fails(pair: Pair, lines: int, seeds: int, n: int, lost: int) -> None:
    base = cells_of(pair, RNG, lines, seeds, n)
    found = pair.compare(base, [pair.changed(row, RNG, lost) for row in base])
    assert not found.passed
    (whole,) = [verdict for verdict in found.verdicts if verdict.scope == "comparison"]
    count = lines * seeds * lost
    assert (whole.judgement, whole.cell) == ("regressed", "all cells")
    assert whole.reason == f"{count} of {lines * seeds * n} answers lost, 0 won"
    first = [line for line in found.to_markdown().splitlines() if line.startswith("| ")][1]
    assert first.startswith("| regressed | all cells ")


def test_the_same_five_answers_lost_in_every_cell_are_five_observations(pair: Pair) -> None:
    base = cells_of(pair, RNG, 34, 3, 1497)
    first = [row | pair.scored(np.arange(1497) >= 100) | {"outputs": row["outputs"]} for row in base]
    lost = [row | pair.scored(np.arange(1497) >= 105) | {"outputs": "others"} for row in base]
    assert judged(pair, first, lost)[:2] == ["failed", "comparison accuracy regressed"]
    fewer = [row | pair.scored(np.arange(1497) >= 104) | {"outputs": "others"} for row in base]
    assert judged(pair, first, fewer) == ["passed"]


def test_what_flips_both_ways_passes(pair: Pair) -> None:
    base = cells_of(pair, RNG, 34, 3, 360)
    assert judged(pair, base, [pair.changed(row, RNG, 4, 4) for row in base]) == ["passed"]


def test_a_line_that_loses_two_points_on_three_seeds_is_named(pair: Pair) -> None:
    base = cells_of(pair, RNG, 14, 3, 720)
    new = [pair.changed(row, RNG, 7 + 15 * (row["label"] == "line 4"), 7) for row in base]
    found = pair.compare(base, new)
    assert [v.cell for v in found.lines if v.judgement == "regressed"] == ["digits/cnn-s/line 4"]


def test_losses_of_one_line_are_no_losses_of_others(pair: Pair) -> None:
    """An improvement elsewhere doesn't make up for a loss."""
    base = cells_of(pair, RNG, 2, 3, 720)
    new = [pair.changed(row, RNG, *((30, 0) if row["label"] == "line 0" else (0, 30))) for row in base]
    assert judged(pair, base, new)[:3] == ["failed", "line accuracy regressed", "cell accuracy regressed"]


# ----------------------------------------------------------------------------------------- baselines


def test_a_baseline_cut_in_half_fails(pair: Pair) -> None:
    rows = cells_of(pair, RNG, 32, 3, 100)
    pair.compare(rows, rows)
    file = pair.folder / "base" / "records.jsonl"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    found = compare(pair.folder / "base", pair.folder / "new")
    lacking = found.counts["new"]
    assert 40 <= lacking <= 56
    assert found.failures[0].startswith(f"The plan of the baseline names {lacking} cells without a row, such as tune/")
    assert compare(pair.folder / "base", pair.folder / "new", allow=["plan"]).passed
    (pair.folder / "base" / "plan.json").unlink()
    found = compare(pair.folder / "base", pair.folder / "new")
    assert found.failures == (
        f"The baseline has no plan.json, so nothing says that it is whole: {lacking} cells are not in it.",
    )


def test_a_baseline_without_members_and_bounds_is_not_whole(pair: Pair) -> None:
    rows = [*cells_of(pair, RNG, 2, 1, 100), pair.build.row("pool", "", pool="p", status="skipped")]
    pair.compare(rows, rows)
    file = pair.folder / "base" / "records.jsonl"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if '"kind": "pool"' not in line))
    assert not compare(pair.folder / "base", pair.folder / "new").passed


def test_other_test_examples_fail_even_if_one_cell_has_the_same(pair: Pair) -> None:
    base = cells_of(pair, RNG, 34, 3, 100)
    new = [row | {"examples": "others"} if i else row for i, row in enumerate(base)]
    assert judged(pair, base, new) == ["failed", "cell  not-comparable"]
    assert judged(pair, base, new, allow=["not-comparable"]) == ["passed", "cell  not-comparable"]


# ----------------------------------------------------------------------------------------- costs


def with_latency(pair: Pair) -> Rows:
    rows = cells_of(pair, RNG, 6, 1, 100)
    return rows + [pair.build.row("time", row["label"]) for row in rows]


@pytest.mark.parametrize(
    ("by", "measures"),
    [
        ({"flops": 2}, {"flops"}),
        ({"flops": 1.001}, {"flops"}),
        ({"parameters": 2}, {"parameters"}),
        ({"bytes": 1.1}, {"size"}),
        ({"steps": 10}, {"steps"}),
        ({"gradients": 2}, {"gradients"}),
        ({"trainable": 2}, {"trainable"}),
        ({"peak_memory": 2}, {"memory"}),
        ({"seconds": 10}, {"train_s"}),
        ({"latency": 50}, {"latency.1.p50", "latency.1.p95", "latency.64.p50", "latency.64.p95"}),
    ],
)
def test_costs_that_grow_fail(pair: Pair, by: dict[str, float], measures: set[str]) -> None:
    base = with_latency(pair)
    found = pair.compare(base, scaled(base, **by))
    assert not found.passed
    assert {v.measure for v in found.verdicts if v.judgement == "regressed"} == measures
    assert pair.compare(scaled(base, **by), base).passed


@pytest.mark.parametrize("by", [{"seconds": 1.2}, {"latency": 1.3}, {"peak_memory": 1.1}, {"cpu_seconds": 9}])
def test_noise_of_runs_passes(pair: Pair, by: dict[str, float]) -> None:
    base = with_latency(pair)
    assert judged(pair, base, scaled(base, **by)) == ["passed"]


def test_measured_noise_sees_more(pair: Pair) -> None:
    base = with_latency(pair)
    new = scaled(base, seconds=1.3)
    assert judged(pair, base, new, noise={"train_s": 0.03}) == ["failed", "line train_s regressed"]
    assert judged(pair, base, new, noise={"train_s": 0.03}, fail_on={"train_s": "40%"}) == ["passed"]


@pytest.mark.parametrize("limit", [0, 0.5])
def test_a_slowdown_that_is_called_visible_is_caught(pair: Pair, limit: float) -> None:
    base = [pair.row(seconds=100.0)]
    options = {"noise": {"train_s": 0.3}, "fail_on": {"train_s": f"{100 * limit}%", "memory": "off"}}
    (verdict,) = [v for v in pair.compare(base, base, **options).lines if v.measure == "train_s"]
    assert 1 + verdict.visible == pytest.approx((1 + limit) * math.exp(0.3 * (2.5758 + 0.8416)), rel=0.001)
    assert not pair.compare(base, scaled(base, seconds=1 + verdict.visible), **options).passed


def test_times_beside_other_work_need_a_larger_factor(pair: Pair) -> None:
    base = [row | {"contended": True} for row in with_latency(pair)]
    assert judged(pair, base, scaled(base, latency=5)) == ["passed"]
    found = pair.compare(base, scaled(base, latency=5))
    unclear = [verdict for verdict in found.lines if verdict.judgement == "inconclusive"]
    assert len(unclear) == 24
    assert unclear[0].reason == "4.81 times, beside other work; assumed noise of runs 70 %"
    assert not pair.compare(base, scaled(base, latency=5), fatal=["inconclusive"]).passed
    assert not pair.compare(base, scaled(base, latency=50)).passed


@pytest.mark.parametrize("field", ["machine", "device", "threads"])
def test_times_of_another_machine_are_passed_over_and_counted(pair: Pair, field: str) -> None:
    base = with_latency(pair)
    new = [row | {field: 2 if field == "threads" else "another"} for row in scaled(base, latency=50, seconds=50)]
    found = pair.compare(base, new, allow=["settings"])
    assert found.passed
    named = {f"{measure} on another {field}": n for measure, n in (("latency", 24), ("train_s", 6), ("memory", 6))}
    assert found.passed_over == named
    assert f"Passed over: 24 of latency on another {field}; " in found.to_markdown()


def test_times_of_another_gpu_of_the_machine_are_compared(pair: Pair) -> None:
    base = [row | {"device": "cuda:0"} for row in with_latency(pair)]
    found = pair.compare(base, [row | {"device": "cuda:1"} for row in scaled(base, latency=50)])
    assert not found.passed
    assert not found.passed_over


def test_coverage_has_a_limit_where_cells_may_be_missing(pair: Pair) -> None:
    base = cells_of(pair, RNG, 20, 1, 100)
    assert judged(pair, base, base[:19], allow=["missing"], fail_on={"coverage": "5%"})[0] == "passed"
    less = pair.compare(base, base[:18], allow=["missing"], fail_on={"coverage": "5%"})
    (verdict,) = [verdict for verdict in less.verdicts if verdict.measure == "coverage"]
    assert (verdict.judgement, verdict.base, verdict.new) == ("regressed", 1.0, 0.9)
    assert verdict.reason == "18 of 20 planned cells are ok"
    assert not less.passed


def test_a_limit_lets_exact_numbers_grow(pair: Pair) -> None:
    base = with_latency(pair)
    new = scaled(base, flops=1.4)
    assert judged(pair, base, new, fail_on={"flops": "50%"}) == ["passed"]
    assert judged(pair, base, new, fail_on={"flops": "off"}) == ["passed"]
    assert judged(pair, base, new, fail_on={"flops": "30%"}) == ["failed", "line flops regressed"]


def test_growth_is_told_in_digits_that_show_it(pair: Pair) -> None:
    base = with_latency(pair)
    told = {1.0023: "0.23 % more", 1.5: "1.5 times as much"}
    for factor, said in told.items():
        found = pair.compare(base, scaled(base, flops=factor))
        reasons = {verdict.reason for verdict in found.verdicts if verdict.measure == "flops"}
        assert reasons == {f"{said}; the limit is 0%"}


def test_an_exact_number_that_is_gone_fails(pair: Pair) -> None:
    base = with_latency(pair)
    new = [{k: v for k, v in row.items() if k != "flops"} for row in base]
    assert judged(pair, base, new) == ["failed", "line flops missing"]


def test_what_a_method_chooses_may_vary_as_among_the_seeds_of_the_base(pair: Pair) -> None:
    base = [row | {"flops": 10**6 * (1 + row["seed"])} for row in cells_of(pair, RNG, 1, 3, 100)]
    up = [row | {"flops": 3 * 10**6} for row in base]
    assert judged(pair, base, up) == ["passed"]
    assert judged(pair, base, scaled(up, flops=1.01)) == ["failed", "line flops regressed"]


@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "blocked"])
def test_failed_latencies_fail(pair: Pair, status: str) -> None:
    base = with_latency(pair)
    new = [row | {"status": status} if row["kind"] == "time" else row for row in base]
    assert judged(pair, base, new) == ["failed", f"cell latency {'failed'}"]


def test_a_latency_that_is_gone_fails(pair: Pair) -> None:
    base = with_latency(pair)
    name = next(name for name in base[-1] if name.startswith("latency."))
    new = [*base[:-1], {k: v for k, v in base[-1].items() if k != name}]
    assert judged(pair, base, new) == ["failed", "cell latency not-comparable"]
    assert judged(pair, base, new, allow=["not-comparable"])[0] == "passed"
    assert pair.compare(new, base).passed


def test_a_latency_that_is_no_number_fails(pair: Pair) -> None:
    base = with_latency(pair)
    new = [row | {"latency.1.p50": None} if row["kind"] == "time" else row for row in base]
    assert judged(pair, base, new) == ["failed", "cell latency failed"]


# ----------------------------------------------------------------------------------------- other metrics


def seeds_of(pair: Pair, seeds: int, field: str, value: Callable[[], Any]) -> Iterator[Record]:
    for row in cells_of(pair, RNG, 3, seeds, 100):
        yield row | {field: value()}


@pytest.mark.parametrize("outputs", ["same", "others"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_nll_five_times_worse_fails(pair: Pair, seeds: int, outputs: str) -> None:
    base = list(seeds_of(pair, seeds, "test.nll", lambda: RNG.normal(0.4, 0.03)))
    new = scaled(base, **{"test.nll": 5.0})
    new = [row | {"outputs": f"others {i}"} if outputs == "others" else row for i, row in enumerate(new)]
    assert judged(pair, base, new)[0] == "failed"
    assert "line nll regressed" in judged(pair, base, new)
    assert pair.compare(new, base).passed


def test_nll_that_is_infinite_in_one_seed_fails(pair: Pair) -> None:
    base = list(seeds_of(pair, 3, "test.nll", lambda: 0.4))
    new = [row | {"outputs": "others"} for row in base]
    new[1]["test.nll"] = math.inf
    assert judged(pair, base, new) == ["failed", "line nll regressed"]
    assert pair.compare(new, base).passed


def test_nll_that_moves_by_chance_passes(pair: Pair) -> None:
    base = list(seeds_of(pair, 3, "test.nll", lambda: RNG.normal(0.4, 0.03)))
    new = [row | {"test.nll": row["test.nll"] * RNG.normal(1, 0.1), "outputs": "others"} for row in base]
    assert judged(pair, base, new) == ["passed"]


def test_further_test_sets_are_judged(pair: Pair) -> None:
    base = list(seeds_of(pair, 3, "also.shifted.nll", lambda: RNG.normal(0.4, 0.03)))
    new = [row | {"also.shifted.nll": 3 * row["also.shifted.nll"], "outputs": "others"} for row in base]
    assert "line also.shifted.nll regressed" in judged(pair, base, new)


def test_one_answer_lost_in_every_seed_may_be_chance(pair: Pair) -> None:
    base = list(seeds_of(pair, 3, "also.shifted.accuracy", lambda: RNG.integers(70, 90) / 100))
    lost = [row | {"also.shifted.accuracy": row["also.shifted.accuracy"] - 0.01, "outputs": "others"} for row in base]
    assert judged(pair, base, lost) == ["passed"]


def test_a_limit_in_the_unit_of_a_metric_holds_for_all_lines_together(pair: Pair) -> None:
    base = list(seeds_of(pair, 3, "test.nll", lambda: RNG.normal(100, 1)))
    near, far = ([row | {"test.nll": row["test.nll"] + more + i / 10} for i, row in enumerate(base)] for more in (3, 8))
    near, far = ([row | {"outputs": "others"} for row in rows] for rows in (near, far))
    assert judged(pair, base, near, fail_on={"nll": 5}) == ["passed"]
    assert "comparison nll regressed" in judged(pair, base, far, fail_on={"nll": 5})


def test_a_further_test_set_that_is_gone_fails(pair: Pair) -> None:
    base = list(seeds_of(pair, 1, "also.shifted.nll", lambda: 0.4))
    new = [{k: v for k, v in row.items() if not k.startswith("also.")} for row in base]
    found = pair.compare(base, new, allow=["not-comparable"])
    assert {verdict.reason for verdict in found.cells} == {"also.shifted.nll is no longer measured"}


def regression(pair: Pair, seeds: int, rmse: float, *, losses: bool) -> Rows:
    rows = []
    for row in cells_of(pair, RNG, 3, seeds, 200):
        values = (rmse * RNG.normal(size=200)) ** 2
        packed = np.asarray(values, "<f4").tobytes()
        fields = {"metrics": ["rmse"], "test.rmse": math.sqrt(values.mean()), "better.rmse": "lower", "correct": None}
        fields["losses"] = base64.b64encode(packed).decode() if losses else None
        rows.append({k: v for k, v in row.items() if not k.endswith(("accuracy", "nll"))} | fields)
    return rows


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("losses", [True, False])
def test_rmse_ten_times_worse_fails(pair: Pair, seeds: int, losses: bool) -> None:
    base, new = (regression(pair, seeds, rmse, losses=losses) for rmse in (0.5, 5.0))
    new = [row | {"outputs": "others"} for row in new]
    assert "line rmse regressed" in judged(pair, base, new) or (seeds == 1 and losses)
    assert judged(pair, base, new)[0] == "failed"
    assert pair.compare(new, base).passed


@pytest.mark.parametrize("rmse", [1e-5, 0.5, 1e5])
def test_losses_that_rise_a_little_everywhere_fail(pair: Pair, rmse: float) -> None:
    base = regression(pair, 3, rmse, losses=True)
    found = pair.compare(base, risen(base))
    assert {(v.scope, v.measure) for v in found.verdicts if v.judgement == "regressed"} == {
        (scope, "rmse") for scope in ("comparison", "line", "cell")
    }
    assert pair.compare(base, risen(base), fail_on={"rmse": "2.5%"}).passed
    assert not pair.compare(base, risen(base), fail_on={"rmse": "2.4%"}).passed
    (whole,) = [verdict for verdict in found.verdicts if verdict.scope == "comparison"]
    assert whole.change == pytest.approx(1 - math.sqrt(1.05))


def test_losses_that_vanish_are_better(pair: Pair) -> None:
    base = regression(pair, 3, 0.5, losses=True)
    zeros = base64.b64encode(bytes(4 * 200)).decode()
    perfect = [row | {"losses": zeros, "test.rmse": 0.0, "outputs": "others"} for row in base]
    assert pair.compare(base, perfect).counts == {"improved": 9}
    assert pair.compare(perfect, base).counts == {"regressed": 9}


def test_losses_that_no_metric_rests_on_have_their_own_name(pair: Pair) -> None:
    fields = {"metrics": ["r2"], "better.r2": "higher", "test.r2": 0.8}
    base = [row | fields for row in regression(pair, 3, 0.5, losses=True)]
    found = pair.compare(base, risen(base))
    worse = [verdict for verdict in found.cells if verdict.judgement == "regressed"]
    assert {(verdict.measure, verdict.better) for verdict in worse} == {("losses", "lower")}
    assert all(verdict.new == pytest.approx(1.05 * verdict.base) for verdict in worse)
    assert pair.compare(base, risen(base), fail_on={"losses": "6%"}).passed


def risen(base: Rows) -> Rows:
    """The same rows with losses that are 5 % higher on every example."""
    new = []
    for row in base:
        values = np.frombuffer(base64.b64decode(row["losses"]), "<f4") * 1.05
        packed = base64.b64encode(values.astype("<f4").tobytes()).decode()
        new.append(row | {"losses": packed, "test.rmse": math.sqrt(values.mean()), "outputs": "others"})
    return new


def test_a_metric_that_ranks_and_is_no_share_of_answers_is_tested_over_seeds(pair: Pair) -> None:
    fields = {"metrics": ["f1"], "better.f1": "higher", "test.f1": 0.8}
    base = [row | fields for row in cells_of(pair, RNG, 2, 3, 100)]
    new = [row | {"test.f1": 0.3, "outputs": "others"} for row in base]
    assert "line f1 regressed" in judged(pair, base, new)


def test_the_same_scores_do_not_tell_what_would_have_been_caught(pair: Pair) -> None:
    fields = {"metrics": ["f1"], "better.f1": "higher", "test.f1": 0.8, "correct": None}
    base = [row | fields for row in cells_of(pair, RNG, 2, 1, 100)]
    assert pair.compare(base, base).passed
    blind = pair.compare(base, base, resolve="1pp")
    assert blind.failures == ("This comparison could not have caught any loss of f1. 1 % were to be visible.",)
