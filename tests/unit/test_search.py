"""Searching for hyper-parameters: what is tried, and when the best is at an edge."""

from __future__ import annotations

import math
import random

import pytest

from finefuse_zoo.schemes.search import Range, Search

LR = {"lr": {"low": 1e-3, "high": 1.0, "log": True}}


def play(search, space, quality, seed=0):
    """All trials of a search on a known function: what was tried, and how good it was."""
    told = []
    for trial, known in enumerate(search.plan(space)):
        params = search.suggest(trial, [told[i] for i in known], space, seed)
        told.append((params, quality(params)))
    return told


def peak(params):
    """Best at a learning rate of 0.1."""
    return -abs(math.log10(params.get("lr", 1e-3)) + 1)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_first_trial_is_the_default_and_the_rest_lies_in_the_range(sampler):
    told = play(Search(of="full", trials=9, sampler=sampler), LR, peak)
    assert len(told) == 9
    assert told[0][0] == {}
    assert all(1e-3 <= params["lr"] <= 1.0 for params, _ in told[1:])
    assert len({params["lr"] for params, _ in told[1:]}) == 8


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_same_seed_same_trials(sampler):
    search = Search(of="full", trials=7, sampler=sampler)
    assert play(search, LR, peak, 3) == play(search, LR, peak, 3)
    assert sampler == "grid" or play(search, LR, peak, 3) != play(search, LR, peak, 4)


def test_tpe_comes_closer_than_random_on_average():
    def regret(sampler):
        return sum(max(q for _, q in play(Search("full", 24, sampler=sampler), LR, peak, s)) for s in range(6))

    assert regret("tpe") > regret("random")


def test_only_tpe_waits_for_earlier_trials():
    assert Search("full", 6, sampler="random").plan(LR) == [()] * 6
    assert [*map(tuple, Search("full", 6, sampler="tpe").plan(LR))] == [(), (), (), (), (0, 1, 2, 3), (0, 1, 2, 3, 4)]


def test_a_grid_covers_the_corners_of_all_ranges():
    space = {"lr": {"low": 0.01, "high": 1.0, "log": True}, "width": {"choices": [8, 16]}}
    search = Search("full", trials=7, sampler="grid")
    tried = [params for params, _ in play(search, space, lambda _: 0.0)][1:]
    assert {(round(p["lr"], 6), p["width"]) for p in tried} == {(lr, w) for lr in (0.01, 0.1, 1.0) for w in (8, 16)}


SPACES = {
    "a rate": LR,
    "choices": {"k": {"choices": ["a", "b", "c", "d"]}, "l": {"choices": [1, 2, 3]}},
    "three ranges": {name: {"low": 0.1, "high": 3.7} for name in "abc"},
    "a mixture": {**LR, "n": {"low": 1, "high": 9}, "k": {"choices": ["a", "b", "c"]}},
}


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
@pytest.mark.parametrize("trials", [2, 3, 5, 8, 9, 12])
@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_every_space_gets_the_trials_that_were_said_and_none_twice(space, trials, sampler):
    tried = [params for params, _ in play(Search("full", trials, sampler=sampler), space, lambda _: 0.0)]
    assert len(tried) == trials
    if sampler == "grid":
        assert len(set(map(str, tried))) == trials
    for params in tried[1:]:
        for name, one in space.items():
            assert params[name] in one["choices"] if "choices" in one else one["low"] <= params[name] <= one["high"]


def test_a_grid_that_has_no_more_settings_is_smaller():
    space = {"k": {"choices": ["a", "b"]}, "n": {"low": 1, "high": 3}}
    tried = [params for params, _ in play(Search("full", 20, sampler="grid"), space, lambda _: 0.0)]
    assert len(tried) == 1 + 2 * 3
    assert len(set(map(str, tried))) == 7


def test_points_end_where_the_range_does():
    rng = random.Random(0)
    for _ in range(500):
        low, high = sorted(rng.uniform(1e-9, 10) for _ in range(2))
        for log in (False, True):
            points = Range(low, high, log).points(rng.randrange(2, 40))
            assert (points[0], points[-1]) == (low, high)
            assert points == sorted(points)


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ({"low": 1, "high": 4}, [1, 2, 3, 4]),
        ({"low": 0.0, "high": 1.0}, [0.0, 1 / 3, 2 / 3, 1.0]),
        ({"low": 1, "high": 1000, "log": True}, [1, 10, 100, 1000]),
        ({"choices": ["a", "b"]}, ["a", "b"]),
    ],
)
def test_points_of_a_range(given, points):
    assert Range(**given).points(4) == pytest.approx(points) if "low" in given else Range(**given).points(4) == points


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"low": 1},
        {"low": 2, "high": 1},
        {"low": 0.0, "high": 1.0, "log": True},
        {"choices": ()},
        {"choices": (1, 1)},
    ],
)
def test_ranges_that_make_no_sense(given):
    with pytest.raises(ValueError, match="range"):
        Range(**given)


def test_an_optimum_at_the_edge_is_noticed():
    search = Search("full", space={"lr": Range(1e-3, 1.0, log=True), "norm": Range(choices=("train", "eval"))})
    assert search.at_edge({"lr": 0.9, "norm": "train"}, {}) == ["lr"]
    assert search.at_edge({"lr": 1e-3}, {}) == ["lr"]
    assert search.at_edge({"lr": 0.03, "norm": "eval"}, {}) == []
    assert search.at_edge({}, {}) == []
    for outside in (2.0, 1e-5, 0.0, -1.0):
        assert search.at_edge({"lr": outside}, {}) == ["lr"]
    assert search.at_edge({"lr": None}, {}) == []
