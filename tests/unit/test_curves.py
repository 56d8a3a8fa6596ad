"""Curves over how many tasks or members are fused: which parts are drawn, their jobs, and what the board shows."""

from __future__ import annotations

import math
from itertools import combinations
from math import comb
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from finefuse.declare.curves import arrivals, drawn
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError
from finefuse.judge.board.curves import curve_tables, make_curves
from finefuse.judge.statistics import mean_interval
from finefuse.types import Job
from helpers.crossing import MANY, SUITE, TINY, ran

NAMES = ["ants", "bees", "cats", "dogs", "eels", "figs"]
THIRD = {"use": "points", "outputs": 5, "centres": 5, "as": "third"}
THREE: dict[str, Any] = {
    "datasets": [{"use": "points", "as": "first"}, MANY, THIRD],
    "fusions": ["soup", "dare"],
    "seeds": [0, 1],
    "budget": {"epochs": 1, "batch_size": 16},
}
CURVE: dict[str, Any] = {"of": ["full"], "datasets": "*", "sizes": [2, 3], "subsets": 4}


def planned(**changes: Any) -> list[Job]:
    registry = Registry((TINY,))
    return list(make_plan(load_suite(SUITE | THREE | changes, registry), registry).jobs)


# ------------------------------------------------------------------------------------------------------------- drawing
@pytest.mark.parametrize("size", [2, 3, 5])
def test_all_subsets_are_taken_where_there_are_no_more(size: int) -> None:
    everything = list(combinations(range(6), size))
    assert drawn(NAMES, size, 99) == everything
    assert drawn(NAMES, size, len(everything)) == everything


@pytest.mark.parametrize("count", [1, 7, 19])
def test_drawn_subsets_differ_and_the_first_are_the_same_whatever_their_number(count: int) -> None:
    found = drawn(NAMES, 3, count)
    assert len(set(found)) == len(found) == count < comb(6, 3)
    assert all(one == tuple(sorted(one)) and len(one) == 3 for one in found)
    assert found == drawn(NAMES, 3, 19)[:count]


def test_what_is_drawn_depends_on_names_not_on_places() -> None:
    backwards = NAMES[::-1]
    for way in (drawn, arrivals):
        one = [[NAMES[i] for i in chosen] for chosen in way(NAMES, 3, 5)]
        other = [[backwards[i] for i in chosen] for chosen in way(backwards, 3, 5)]
        assert [set(names) for names in one] == [set(names) for names in other]
    assert one == other


def test_every_name_is_drawn_about_as_often() -> None:
    found = drawn([f"task {n}" for n in range(12)], 4, 200)
    often = [sum(i in one for one in found) for i in range(12)]
    assert min(often) > 200 * 4 / 12 * 0.6
    assert max(often) < 200 * 4 / 12 * 1.4


def test_arrivals_are_orders_of_the_drawn_subsets() -> None:
    found = arrivals(NAMES, 3, 8)
    assert len(set(found)) == 8
    assert [tuple(sorted(one)) for one in found] == drawn(NAMES, 3, 8)
    assert sorted(arrivals(NAMES[:2], 2, 9)) == [(0, 1), (1, 0)]


# ---------------------------------------------------------------------------------------------------------------- jobs
def test_a_part_has_the_keys_of_the_same_pool_written_by_hand() -> None:
    parts = [job for job in planned(pools={"tasks": CURVE}) if job.size == 2 and job.label != "dare"]
    by_hand = {"of": ["full"], "datasets": ["first", "third"]}
    alone = {(job.kind, job.label, job.seed): job.key for job in planned(pools={"two": by_hand}) if job.pool == "two"}
    mine = {(job.kind, job.label, job.seed): job for job in parts if job.subset == ("first", "third")}
    assert len(mine) == 4
    assert all(alone[place] == job.key for place, job in mine.items())
    assert {job.place.dataset for job in mine.values()} == {"first + third"}
    assert len({job.subset for job in parts}) == comb(3, 2)


def test_only_fusions_that_depend_on_it_see_orders() -> None:
    jobs = [job for job in planned(pools={"tasks": CURVE}) if job.size and not job.seed]
    orders = {
        label: [job.subset for job in jobs if job.label == label and job.kind == "fuse" and job.size == 3]
        for label in ("soup", "dare")
    }
    assert orders["soup"] == []
    assert len(set(orders["dare"])) == len(orders["dare"]) == 4
    for job in (job for job in jobs if job.kind == "fuse"):
        assert [name.removeprefix("full on ") for name, _ in job.fused] == list(job.subset)
    assert len([job for job in jobs if job.kind == "pool"]) == comb(3, 2)


def test_parts_are_neither_timed_nor_lines_nor_tuned_for() -> None:
    whole, curve = planned(pools={"tasks": {"of": ["full"], "datasets": "*"}}), planned(pools={"tasks": CURVE})
    assert [job for job in curve if not job.size] == whole
    assert not any(job.place.has_line for job in curve if job.size)
    assert len({job.place for job in curve}) == len(curve)


def test_members_of_one_task_are_drawn_too() -> None:
    pool = {"of": ["full"], "copies": 4, "sizes": [2, 3, 4], "subsets": 3}
    jobs = [job for job in planned(datasets=["points"], pools={"some": pool}) if job.size and job.label == "soup"]
    assert sorted({(job.size, job.draw) for job in jobs}) == [(size, draw) for size in (2, 3) for draw in range(3)]
    assert all(len(job.fused) == job.size and job.place.dataset == "points" for job in jobs)
    assert all([name for name, _ in job.fused] == sorted(name for name, _ in job.fused) for job in jobs)


def test_the_plan_says_how_many_jobs_a_curve_is() -> None:
    registry = Registry((TINY,))
    plan = make_plan(load_suite(SUITE | THREE | {"pools": {"tasks": CURVE}}, registry), registry)
    n = sum(bool(job.size) for job in plan.jobs)
    assert f"the curve of pool tasks over sizes 2, 3 is {n} jobs on 4 subsets" in plan.remarks


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "one": ({"sizes": [1]}, "pools.tasks.sizes[0]: must be greater than or equal to 2, not 1"),
    "none": ({"sizes": []}, "pools.tasks.sizes: must not be empty"),
    "twice": ({"sizes": [2, 2]}, "pools.tasks.sizes[1]: 2 is given twice, first as pools.tasks.sizes[0]"),
    "too many": ({"sizes": [2, 4]}, "pools.tasks.sizes[1]: is 4, and the pool has 3 data sets"),
    "members": ({"datasets": None, "sizes": [2]}, "pools.tasks.sizes[0]: is 2, and the pool has 1 members"),
    "alone": ({"subsets": 3, "sizes": None}, "pools.tasks.subsets: goes with `sizes`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sizes_that_can_not_be(case: str) -> None:
    changes, sentence = WRONG[case]
    with pytest.raises(SuiteError) as caught:
        planned(pools={"tasks": {"of": ["full"], "datasets": "*"} | changes})
    assert str(caught.value) == sentence


# --------------------------------------------------------------------------------------------------------------- board
@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    pools = {"tasks": CURVE | {"sizes": [2], "subsets": 2}}
    return ran(tmp_path_factory.mktemp("curve"), **THREE | {"seeds": [0], "fusions": ["soup"]}, pools=pools, latency=[])


def rows(label: str, scores: dict[tuple[int, int], list[float]]) -> list[dict[str, Any]]:
    """Rows of one fusion: the scores of all seeds by size and draw; the whole pool has size 0."""
    same = {"kind": "fuse", "backbone": "net", "label": label, "pool": "p", "round": 0, "status": "ok", "cell": label}
    return [
        same
        | {"dataset": "a + b" if size else "a + b + c", "seed": seed, "metrics": ["acc"], "test.acc": score}
        | ({"size": size, "draw": draw} if size else {})
        | {"tasks": ["a", "b"] if size else ["a", "b", "c"], "member": 0}
        for (size, draw), values in scores.items()
        for seed, score in enumerate(values)
    ]


def point(curves: pd.DataFrame, strategy: str, size: int) -> Any:
    (found,) = curves[(curves["strategy"] == strategy) & (curves["size"] == size)].to_dict("records")
    return found


def test_a_point_is_the_mean_over_subsets_of_the_mean_over_seeds() -> None:
    free = rows("soup", {(2, 0): [0.5, 0.7], (2, 1): [0.9, 0.9], (0, 0): [0.3, 0.5]})
    ordered = rows("dare", {(2, 0): [0.1, 0.1], (3, 0): [0.2, 0.4], (3, 1): [0.6, 0.6], (0, 0): [0.9, 0.9]})
    curves = make_curves([*free, *ordered])
    got = point(curves, "soup", 2)
    mean, half = mean_interval([0.6, 0.9])
    assert (got["mean"], got["half"]) == (pytest.approx(mean), pytest.approx(half))
    assert [got[name] for name in ("dataset", "metric", "subsets", "planned")] == ["a + b + c", "acc", 2, 2]
    assert point(curves, "soup", 3)["mean"] == pytest.approx(0.4)  # of the whole pool
    assert math.isinf(point(curves, "soup", 3)["half"])
    assert point(curves, "dare", 3)["mean"] == pytest.approx(0.45)  # of its orders, not of the pool's own one
    table = dict(curve_tables(curves, "a + b + c", "net", {"acc": "higher"}))
    ((told, shown),) = table.items()
    assert told.startswith("acc by how many of pool p are fused, ± over what was drawn: 1 to 2 of size 2, 1 to 2 of")
    assert shown["strategy"].tolist() == ["dare", "soup"]
    assert shown["2"].tolist() == ["0.1000", f"0.7500 ± {half:.4f}"]


def test_a_subset_that_failed_is_left_out_and_told() -> None:
    found = rows("soup", {(2, 0): [0.5, 0.7], (2, 1): [0.9, 0.9], (0, 0): [0.3, 0.5]})
    found[0]["status"] = "failed"
    got = point(make_curves(found), "soup", 2)
    assert (got["subsets"], got["planned"], got["mean"]) == (1, 2, 0.9)
    (_, shown), *_ = curve_tables(make_curves(found), "a + b + c", "net", {})
    assert shown["2"].tolist() == ["0.9000 (1/2)"]


def test_the_board_shows_the_curve_and_no_further_lines(run: SimpleNamespace) -> None:
    assert {row["status"] for row in run.rows} == {"ok"}
    parts = [row for row in run.rows if row.get("size")]
    assert [(row["kind"], row["size"], row["draw"]) for row in parts] == [
        (kind, 2, draw) for draw in (0, 1) for kind in ("pool", "fuse")
    ]
    assert all(row["dataset"] == " + ".join(row["subset"]) == " + ".join(row["tasks"]) for row in parts)
    assert sorted(set(run.board.lines["strategy"])) == ["full", "soup"]
    assert len(run.board.pools) == 1
    got = point(run.board.curves, "soup", 2)
    assert got["mean"] == pytest.approx(fmean(row["test.normalised"] for row in parts if row["kind"] == "fuse"))
    whole = [row for row in run.rows if row["kind"] == "pool" and not row.get("size")]
    bound = point(run.board.curves, "untouched body, tuned heads", 3)
    assert bound["mean"] == pytest.approx(fmean(row["untouched.test.normalised"] for row in whole))
    text = run.board.to_markdown()
    assert "normalised by how many of pool tasks are fused" in text
    (header,) = [line for line in text.splitlines() if line.replace(" ", "") == "|strategy|2|3|"]
    assert text.index(header) > text.index("## first + ")
