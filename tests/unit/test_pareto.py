"""Fronts say what can be told, and budgets choose without looking at the test set."""

from __future__ import annotations

import math
import re
from types import ModuleType
from typing import Any

import pytest

from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.types import Record
from helpers.boards import line, runs

CLEAR = {"a": [0.90, 0.91, 0.90, 0.91], "b": [0.70, 0.71, 0.70, 0.71]}
"""Two lines that are told apart."""


def seeds(build: ModuleType, label: str, accuracies: list[float], seconds: list[float], **fields: Any) -> list[Record]:
    rows = runs(build, label, accuracies, **{"correct": None} | fields)
    return [row | {"seconds": spent} for row, spent in zip(rows, seconds, strict=True)]


def board(*rows: list[Record], unit: str = "") -> Leaderboard:
    return make_leaderboard("demo", [row for some in rows for row in some], unit=unit)


def front(found: Leaderboard, label: str, cost: str = "training") -> str:
    return str(line(found, label)[f"front.{cost}"])


def test_what_is_dearer_and_worse_beyond_noise_is_off(build: ModuleType) -> None:
    found = board(seeds(build, "a", CLEAR["a"], [1, 2, 1, 2]), seeds(build, "b", CLEAR["b"], [3, 4, 3, 4]))
    assert (front(found, "a"), front(found, "b")) == ("front", "")


def test_what_is_worse_and_cheaper_is_on_it(build: ModuleType) -> None:
    found = board(seeds(build, "a", CLEAR["a"], [3, 4, 3, 4]), seeds(build, "b", CLEAR["b"], [1, 2, 1, 2]))
    assert (front(found, "a"), front(found, "b")) == ("front", "front")


def test_a_score_within_noise_leaves_it_open(build: ModuleType) -> None:
    noisy = [0.9, 0.5, 0.8, 0.6]
    found = board(seeds(build, "a", CLEAR["a"], [1] * 4), seeds(build, "b", noisy, [3] * 4))
    assert line(found, "b")["tied"]
    assert (front(found, "a"), front(found, "b")) == ("front", "maybe")


def test_one_seed_puts_nothing_off(build: ModuleType) -> None:
    found = board(seeds(build, "a", [0.9], [1]), seeds(build, "b", [0.1], [3]))
    assert (front(found, "a"), front(found, "b")) == ("front", "maybe")


@pytest.mark.parametrize(
    ("ours", "theirs", "fields"),
    [([1, 2, 1, 9], [3, 4, 3, 4], {}), ([1, 2, 1, 2], [3, 4, 3, 4], {"contended": True})],
)
def test_a_cost_within_noise_leaves_it_open(
    build: ModuleType, ours: list[float], theirs: list[float], fields: dict[str, Any]
) -> None:
    """Seconds that overlap between seeds, and those that other work may have added to."""
    found = board(seeds(build, "a", CLEAR["a"], ours), seeds(build, "b", CLEAR["b"], theirs, **fields))
    assert front(found, "b") == "maybe"


def test_costs_of_several_machines_are_not_compared(build: ModuleType) -> None:
    rows = seeds(build, "a", CLEAR["a"], [1] * 4), seeds(build, "b", CLEAR["b"], [3] * 4, machine="m2")
    found = board(*rows)
    assert (front(found, "a"), front(found, "b")) == ("", "")
    assert (front(found, "a", "flops"), front(found, "b", "flops")) == ("front", "")


def test_memory_and_latency_of_several_machines_are_not_compared_either(build: ModuleType) -> None:
    rows = [*seeds(build, "a", CLEAR["a"], [1] * 4, peak_memory=1), *seeds(build, "b", CLEAR["b"], [3] * 4)]
    rows += [row | {"peak_memory": 2, "machine": "m2"} for row in rows[4:]]
    del rows[4:8]
    assert (front(board(rows), "a", "memory"), front(board(rows), "b", "memory")) == ("", "")
    same = [row | {"machine": "m"} for row in rows]
    assert (front(board(same), "a", "memory"), front(board(same), "b", "memory")) == ("front", "")
    timed = [
        build.row("time", label, machine=name) | {"latency.1.p50": 1.0} for label, name in (("a", "m"), ("b", "m2"))
    ]
    assert front(board([*same, *timed]), "a", "latency") == ""


def test_lower_is_better(build: ModuleType) -> None:
    fields = {"metrics": ["mse"], "better.mse": "lower", "correct": None}
    rows = [
        build.row(label=label, seed=seed, **fields, **{"test.mse": value, "seconds": seconds})
        for label, values, seconds in (("a", [1, 1.1, 1], 1), ("b", [9, 9.1, 9], 2))
        for seed, value in enumerate(values)
    ]
    found = board(rows)
    assert (front(found, "a"), front(found, "b")) == ("front", "")


def test_exact_costs(build: ModuleType) -> None:
    """The same size: the better one is as cheap."""
    rows = [
        *seeds(build, "a", CLEAR["a"], [1] * 4, bytes=100, flops=7),
        *seeds(build, "b", CLEAR["b"], [1] * 4, bytes=100, flops=6),
    ]
    found = board(rows)
    assert (front(found, "a", "bytes"), front(found, "b", "bytes")) == ("front", "")
    assert (front(found, "a", "flops"), front(found, "b", "flops")) == ("front", "front")
    assert front(found, "a", "memory") == ""


@pytest.mark.parametrize(("within", "expected"), [(0.02, ""), (0.6, "maybe"), (None, "maybe")])
def test_latency_is_as_sure_as_its_median(build: ModuleType, within: float | None, expected: str) -> None:
    rows = [*seeds(build, "a", CLEAR["a"], [1] * 4), *seeds(build, "b", CLEAR["b"], [1] * 4)]
    for label, p50 in (("a", 0.001), ("b", 0.002)):
        more = {} if within is None else {"latency.1.within": within}
        rows.append(build.row("time", label, **more) | {"latency.1.p50": p50})
    assert front(board(rows), "b", "latency") == expected


def test_networks_that_were_given_have_no_bill(build: ModuleType) -> None:
    given = seeds(build, "a", CLEAR["a"], [0] * 4, given={"a": {"licence": "MIT"}})
    found = board(given, seeds(build, "b", CLEAR["b"], [3] * 4), seeds(build, "c", CLEAR["b"], [2] * 4))
    assert [front(found, label) for label in "abc"] == ["", "maybe", "front"]


def test_failed_and_undefined_lines_are_on_none(build: ModuleType) -> None:
    found = board(
        seeds(build, "a", CLEAR["a"], [1] * 4),
        seeds(build, "b", [math.nan] * 4, [0.1] * 4),
        [build.row(label="c", status="failed")],
        seeds(build, "d", CLEAR["b"], [0.5] * 4),
    )
    assert [front(found, label) for label in "abcd"] == ["front", "", "", "front"]


def test_the_board_names_the_costs(build: ModuleType) -> None:
    noisy = [0.9, 0.5, 0.8, 0.6]
    found = board(seeds(build, "a", CLEAR["a"], [1] * 4), seeds(build, "b", noisy, [3] * 4, flops=1))
    rows = [line.split("|") for line in found.to_markdown().splitlines() if line.startswith("| 1")]
    assert [next(cell.strip() for cell in row if "F" in cell) for row in rows] == ["T F", "T? F"]
    assert any(note.startswith("front: ") for note in found.notes)


# ------------------------------------------------------------------------------------------------- budgets


def probed(build: ModuleType, **more: tuple[list[float], float, float]) -> list[list[Record]]:
    """A probe of 2 s, and lines with scores, a score on val and seconds."""
    lines = {"lp": ([0.5, 0.6], 0.5, 2.0), **more}
    return [
        [row | {"val.accuracy": val} for row in seeds(build, label, scores, [spent] * len(scores))]
        for label, (scores, val, spent) in lines.items()
    ]


def bought(found: Leaderboard) -> dict[int, str]:
    return dict(zip(found.budgets["budget"], found.budgets["strategy"], strict=True))


def test_the_best_on_val_within_each_budget(build: ModuleType) -> None:
    rows = probed(
        build,
        cheap=([0.5, 0.5], 0.6, 3.9),
        lucky=([0.99, 0.99], 0.1, 3.0),
        good=([0.8, 0.9], 0.9, 10.0),
        dear=([0.9, 0.9], 0.95, 41.0),
    )
    found = board(*rows, unit="lp")
    assert bought(found) == {1: "lp", 2: "cheap", 5: "good", 20: "good"}
    good = found.budgets[found.budgets["budget"] == 5].iloc[0]
    assert (good["unit"], good["cost"]) == (2.0, 5.0)
    assert (good["mean"], good["interval"]) == (pytest.approx(0.85), line(found, "good")["interval"])
    text = found.to_markdown()
    assert "| 5x " in text
    assert "| 0.8500" in text.split("best on val")[-1]


def test_of_equal_lines_on_val_the_cheapest_is_chosen_and_not_the_best_on_test(build: ModuleType) -> None:
    rows = probed(build, dear=([0.99, 0.99], 0.9, 4.0), cheap=([0.6, 0.6], 0.9, 3.0), same=([0.9, 0.9], 0.9, 3.0))
    assert bought(board(*rows, unit="lp")) == {1: "lp", 2: "cheap", 5: "cheap", 20: "cheap"}


def test_what_has_no_comparable_cost_or_too_few_seeds_is_not_chosen(build: ModuleType) -> None:
    rows = probed(build, half=([0.9], 0.9, 3.0), free=([0.9, 0.9], 0.9, 0.0))
    rows[-1] = [row | {"given": {"free": {"licence": "MIT"}}} for row in rows[-1]]
    assert set(bought(board(*rows, unit="lp")).values()) == {"lp"}
    rows[0][0]["machine"] = "m2"
    assert board(*rows, unit="lp").budgets.empty


def test_a_fusion_pays_for_its_members(build: ModuleType) -> None:
    fused = [row | {"val.accuracy": 0.9} for row in runs(build, "soup", [0.7, 0.8], "fuse", pool="p")]
    found = board(*probed(build), fused, unit="lp")
    assert bought(found) == {1: "lp", 2: "lp", 5: "soup", 20: "soup"}
    assert found.budgets["cost"].iloc[2] == pytest.approx((1.5 + 4.5) / 2)


@pytest.mark.parametrize(
    "fields",
    [{"needs": ["val"]}, {"trials": 8}, {"chosen": {"scale": 1}}, {"parts": {"budget: selection": '"best-val"'}}],
)
def test_what_was_fitted_or_chosen_on_val_is_starred(build: ModuleType, fields: dict[str, Any]) -> None:
    rows = probed(build, good=([0.8, 0.9], 0.9, 3.0))
    rows[1] = [row | fields for row in rows[1]]
    found = board(*rows, unit="lp")
    assert found.budgets["val_used"].tolist() == [False, True, True, True]
    assert "| good *" in found.to_markdown()


def test_no_probe_no_budgets(build: ModuleType) -> None:
    rows = probed(build)
    assert board(*rows).budgets.empty
    assert board(*rows, unit="other").budgets.empty
    given = [row | {"status": "failed", "reason": "no"} for row in rows[0]]
    assert board(given, unit="lp").budgets.empty


def test_the_cheapest_probe_is_the_unit(build: ModuleType) -> None:
    rows = probed(build, other=([0.5, 0.5], 0.4, 1.0))
    rows[1] = [row | {"use": "lp"} for row in rows[1]]
    found = board(*rows, unit="lp")
    assert found.budgets["unit"].tolist() == [1.0] * 4
    assert bought(found) == {1: "other", 2: "lp", 5: "lp", 20: "lp"}


# -------------------------------------------------------------------------------------------------- memory of the whole


def pooled(build: ModuleType, **fields: Any) -> list[Record]:
    """A fusion of two members, one of which takes 70 bytes at its peak; the fusion itself takes 5."""
    members = [build.row(label=label, peak_memory=peak) for label, peak in (("a", 30), ("b", 70))]
    fused = {row["label"]: row["artifact"] for row in members}
    return [*members, build.row("fuse", "soup", pool="p", **{"peak_memory": 5, "fused": fused} | fields)]


def memory(found: Leaderboard, label: str, pool: str = "") -> tuple[float, float]:
    shown = line(found, label, pool)
    return shown["memory"], shown["memory_with_members"]


def test_a_fusion_takes_the_memory_of_its_members_too(build: ModuleType) -> None:
    found = board(pooled(build))
    assert memory(found, "a") == (30, 30)
    assert memory(found, "soup", "p") == (5, 70)
    assert [line(found, name, pool)["front.memory"] for name, pool in (("a", ""), ("soup", "p"))] == ["front", "maybe"]
    large = [row | {"peak_memory": row["peak_memory"] * 1000} for row in pooled(build)]
    assert re.search(r"\| +5.00kB \| +70.0kB \|", board(large).to_markdown())
    assert "+ pool mem |" not in board(large[:2]).to_markdown()  # the same as memory


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"peak_memory": 99}, 99),
        ({"seconds_members": 0.0}, 5),  # it makes its own members
        ({"fused": {"a": "never seen"}}, math.nan),
        ({"fused": None}, math.nan),  # rows of a former version don't name them
        ({"peak_memory": None}, math.nan),
        ({"given": {"a": {}}, "seconds": 0.0}, math.nan),
    ],
)
def test_what_is_not_known_of_a_member_is_not_known_of_the_whole(
    build: ModuleType, fields: dict[str, Any], expected: float
) -> None:
    _, whole = memory(board(pooled(build, **fields)), "soup", "p")
    assert whole == pytest.approx(expected, nan_ok=True)


def test_earlier_rounds_and_all_trials_count(build: ModuleType) -> None:
    first = pooled(build)
    again = build.row(label="a after soup", pool="p", round=1, peak_memory=8, artifact="again")
    again["parts"] = {"start": first[-1]["artifact"]}
    second = build.row("fuse", "soup", pool="p", round=1, peak_memory=6, fused={"a": "again"}, artifact="second")
    found = board([*first, again, second])
    assert memory(found, "soup round 2", "p") == (6, 70)
    trials = [build.row("trial", "s", trial=i, peak_memory=peak, artifact=f"t{i}") for i, peak in enumerate((40, 2))]
    chosen = build.row(label="s", peak_memory=2, trials=2, parts={"trial 0": "t0", "trial 1": "t1", "seed": "0"})
    assert memory(board([*trials, chosen]), "s") == (2, 40)
    picked = pooled(build, trials=2, parts={"choice 0": "t0", "choice 1": "t1"})
    assert memory(board([*picked, trials[1], trials[0] | {"peak_memory": 400}]), "soup", "p") == (5, 400)
