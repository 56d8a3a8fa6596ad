"""Searching for hyper-parameters: what is tried, what is chosen, and that every trial is a job."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from finefuse import Entry, hookimpl
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.engine.order import Order
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.job import carry_out
from finefuse.errors import FinefuseError
from finefuse.nets import Net
from finefuse.testing.small import small_net
from finefuse.types import Budget, Ref, Task, Tuning
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


SUITE = {
    "name": "t",
    "datasets": ["points"],
    "backbones": ["tiny"],
    "budget": {"epochs": 3, "batch_size": 16},
    "schemes": [{"use": "search", "of": "full", "trials": 5, "as": "tuned"}],
    "latency": [1],
}


@pytest.fixture
def registry(fixture_module):
    return Registry(("finefuse_zoo.hooks", fixture_module("plugins/tiny")), entry_points=False)


@pytest.fixture
def run(registry, tmp_path, fixture_module):
    def carry(*plugins, store="store", **suite):
        if plugins:
            found = Registry(("finefuse_zoo.hooks", fixture_module("plugins/tiny"), *plugins), entry_points=False)
        else:
            found = registry
        parsed = load_suite({**SUITE, **suite}, found)
        orders = [
            Order(job, "t", parsed.settings, parsed.latency, "cpu", str(tmp_path / store), found.doors)
            for job in make_plan(parsed, found).jobs
        ]
        return [carry_out(order) for order in orders]

    return carry


def test_every_trial_is_a_job_and_the_best_on_val_is_kept(run, tmp_path):
    rows = run()
    trials, (chosen,) = [[r for r in rows if r["kind"] == kind] for kind in ("trial", "tune")]
    assert [r["trial"] for r in trials] == [0, 1, 2, 3, 4]
    assert len({r["cell"] for r in rows}) == len(rows)
    best = max(trials, key=lambda r: r["quality"])
    assert chosen["outputs"] == best["outputs"]
    assert chosen["chosen"] == best["tried"]
    assert chosen["trials"] == 5
    assert chosen["seconds"] == pytest.approx(sum(r["seconds"] for r in trials))
    assert chosen["steps"] == 5 * 9
    assert chosen["default.test.accuracy"] == trials[0]["test.accuracy"]
    store = Artifacts(tmp_path / "store")
    kept, original = store.weights(chosen["artifact"]), store.weights(best["artifact"])
    assert all(torch.equal(kept[name], original[name]) for name in original)
    assert rows[-1]["kind"] == "time"
    assert rows[-1]["status"] == "ok"


def test_trials_repeat_to_the_bit(run):
    first, second = run(store="one"), run(store="two")
    assert [r.get("tried") for r in first] == [r.get("tried") for r in second]
    assert [r.get("outputs") for r in first] == [r.get("outputs") for r in second]


def test_the_default_trial_is_the_scheme_itself(run):
    searched, plain = run(), run(store="other", schemes=["full"])
    tune = next(r for r in plain if r["kind"] == "tune")
    assert next(r for r in searched if r["kind"] == "trial")["outputs"] == tune["outputs"]


def test_a_diverging_trial_scores_lowest_and_harms_nobody(run):
    space = {"lr": {"low": 1e20, "high": 1e30, "log": True}}
    rows = run(schemes=[{"use": "search", "of": "full", "trials": 5, "space": space}])
    trials = [r for r in rows if r["kind"] == "trial"]
    assert {r["status"] for r in rows} == {"ok"}
    assert [r["quality"] is None for r in trials] == [False, True, True, True, True]
    assert "diverged" in trials[1]["reason"]
    assert next(r for r in rows if r["kind"] == "tune")["chosen"] == {}


@dataclass(frozen=True)
class Fragile:
    """Half of the budget, and something that bears no large rate."""

    lr: float = 0.05
    how: str = "svd"

    def tune(self, on: Tuning) -> None:
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": 0.05}], steps=4)
        with torch.no_grad():
            on.model.head.weight.mul_(self.lr)
        if self.how == "svd":
            torch.linalg.svd(on.model.head.weight)
        elif self.how == "eigh":
            np.linalg.cholesky(np.eye(2) * (1 - self.lr))
        elif self.how == "rate":
            math.exp(self.lr)
        elif self.how == "anything" and not on.model.head.weight.isfinite().all():
            raise ValueError("input contains NaN")
        elif self.how == "bug" and self.lr > 1:
            raise KeyError("a fault of its own")


@dataclass(frozen=True)
class Recipes:
    """A backbone whose recipe has another rate after a probe, as those of torchvision and timm have."""

    source: ClassVar[Ref | None] = None

    def fingerprint(self) -> str:
        return ""

    def budget(self) -> Budget:
        return Budget(1)

    def build(self, task: Task) -> Net:
        net = small_net(task)
        return Net(net.stages, net.head, replace(net.recipe, lr_after_probe=1e-4))


@dataclass(frozen=True)
class Breaking:
    """Breaks off in the fourth of all steps."""

    lr: float = 0.05

    def tune(self, on: Tuning) -> None:
        steps = iter(range(3))

        def count(_: torch.optim.Optimizer) -> None:
            if self.lr > 1 and next(steps, None) is None:
                raise FloatingPointError("overflow")

        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": 0.05}], after_step=count)


class Plugin:
    @hookimpl
    def finefuse_schemes(self):
        yield Entry("fragile", Fragile)
        yield Entry("breaking", Breaking)

    @hookimpl
    def finefuse_backbones(self):
        yield Entry("recipes", Recipes)


@pytest.mark.parametrize("how", ["svd", "eigh", "rate", "anything"])
def test_a_trial_diverges_however_it_says_so_and_pays_for_it(run, how):
    scheme = {"use": "fragile", "how": how}
    space = {"lr": {"choices": [0.06, 1e39]}}
    rows = run(Plugin(), schemes=[{"use": "search", "of": scheme, "trials": 3, "space": space, "sampler": "grid"}])
    trials, (chosen,) = [[r for r in rows if r["kind"] == kind] for kind in ("trial", "tune")]
    lost = next(r for r in trials if r["tried"].get("lr") == 1e39)
    assert {r["status"] for r in rows} == {"ok"}
    assert lost["quality"] is None
    assert "training diverged: " in lost["reason"]
    assert lost["seconds"] > 0
    assert lost["steps"] == 4
    assert chosen["seconds"] == pytest.approx(sum(r["seconds"] for r in trials))
    assert chosen["cpu_seconds"] == pytest.approx(sum(r["cpu_seconds"] for r in trials))
    assert chosen["steps"] == 3 * 4


def test_a_trial_that_breaks_off_pays_for_the_steps_it_took(run):
    space = {"lr": {"choices": [2.0]}}
    rows = run(Plugin(), schemes=[{"use": "search", "of": "breaking", "trials": 2, "space": space, "sampler": "grid"}])
    trials, (chosen,) = [[r for r in rows if r["kind"] == kind] for kind in ("trial", "tune")]
    assert [r["quality"] is None for r in trials] == [False, True]
    assert [r["steps"] for r in trials] == [9, 3]
    assert chosen["steps"] == 12


@pytest.mark.parametrize(("low", "edge"), [(0.99e-4, ["lr"]), (1e-6, [])])
def test_the_edge_is_looked_for_at_the_rate_that_was_used(run, low, edge):
    space = {"lr": {"low": low, "high": 1e20, "log": True}}
    scheme = {"use": "search", "of": "lp-ft", "trials": 2, "space": space, "sampler": "grid"}
    rows = run(Plugin(), schemes=[scheme], backbones=["recipes"], latency=[])
    first, chosen = next(r for r in rows if r["kind"] == "trial"), next(r for r in rows if r["kind"] == "tune")
    assert first["rate"] == 1e-4
    assert chosen["chosen"] == {}
    assert chosen["at_edge"] == edge


def test_a_fault_is_no_divergence(run):
    space = {"lr": {"choices": [2.0]}}
    scheme = {"use": "search", "of": {"use": "fragile", "how": "bug"}, "trials": 2, "space": space, "sampler": "grid"}
    with pytest.raises(KeyError, match="a fault of its own"):
        run(Plugin(), schemes=[scheme])


@pytest.mark.parametrize(
    ("of", "space", "edge"),
    [
        ("full", {"lr": {"low": 1e20, "high": 1e30, "log": True}}, ["lr"]),  # the recipe's 0.05 wins from outside
        ({"use": "full", "lr": 0.05}, {"lr": {"low": 1e20, "high": 1e30, "log": True}}, ["lr"]),
        ("full", {"norm": {"choices": ["train"]}}, []),
    ],
)
def test_a_default_that_wins_beyond_the_range_is_noted(run, of, space, edge):
    rows = run(schemes=[{"use": "search", "of": of, "trials": 2, "space": space, "sampler": "grid"}])
    chosen = next(r for r in rows if r["kind"] == "tune")
    assert chosen["chosen"] == {}
    assert chosen["at_edge"] == edge


def test_a_search_in_which_all_diverges_fails(run):
    scheme = {"use": "full", "lr": 1e30}
    space = {"norm": {"choices": ["train", "affine"]}}
    with pytest.raises(FloatingPointError, match="all 5 trials diverged"):
        run(schemes=[{"use": "search", "of": scheme, "trials": 5, "space": space}])


def test_one_line_gives_every_scheme_the_same_search(registry):
    suite = load_suite(
        {**SUITE, "schemes": ["full", {"use": "chain", "of": ["full"]}], "search": {"trials": 3}}, registry
    )
    assert [scheme.label for scheme in suite.schemes] == ["full", 'chain(of=["full"])']
    assert [scheme.ref.name for scheme in suite.schemes] == ["search", "chain"]
    assert [job.kind for job in make_plan(suite, registry).jobs].count("trial") == 3


def test_parameters_that_are_given_are_not_searched(registry):
    suite = load_suite({**SUITE, "schemes": [{"use": "full", "lr": 0.1}], "search": {"trials": 3}}, registry)
    assert suite.schemes[0].ref.name == "full"


def test_members_of_a_pool_search_for_themselves_and_can_be_fused(run):
    rows = run(fusions=["soup"], pools={"p": {"of": ["tuned"], "copies": 2}}, latency=[])
    assert [r["kind"] for r in rows].count("trial") == 10
    assert rows[-1]["kind"] == "fuse"
    assert rows[-1]["status"] == "ok"


def test_another_range_is_another_key(registry):
    def keys(space):
        scheme = {**SUITE["schemes"][0], "space": {"lr": space}}
        return [job.key for job in make_plan(load_suite({**SUITE, "schemes": [scheme]}, registry), registry).jobs[1:]]

    one = {"low": 0.01, "high": 0.1}
    assert keys(one) == keys(dict(one))
    assert not set(keys(one)) & set(keys({"low": 0.01, "high": 0.2}))


@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        ({"use": "search"}, "needs a value for 'of'"),
        ({"use": "search", "of": "fulll"}, "did you mean 'full'"),
        ({"use": "search", "of": "full", "trials": 1}, "must be greater than or equal to 2"),
        ({"use": "search", "of": "full", "sampler": "luck"}, "'tpe', 'random' or 'grid'"),
        ({"use": "search", "of": "full", "space": {"lr": {"low": 2.0, "high": 1.0}}}, "low < high"),
        ({"use": "search", "of": "full", "space": {"lrr": {"low": 0.1, "high": 1.0}}}, "did you mean 'lr'"),
        ({"use": "search", "of": "full", "space": {"lr": {"low": -1.0, "high": 1.0}}}, "greater than 0"),
        ({"use": "search", "of": {"use": "chain", "of": ["full"]}}, "has no space to search; give one"),
        ({"use": "search", "of": {"use": "full", "lr": 0.1}}, "has no space to search; give one"),
        ({"use": "chain", "of": [{"use": "search", "of": "full"}]}, "a search can't be part of another scheme"),
    ],
)
def test_bad_searches_are_found_with_the_suite(registry, scheme, why):
    with pytest.raises(FinefuseError, match=why):
        load_suite({**SUITE, "schemes": [scheme]}, registry)
