"""Searches in suites: every trial is a job, the best on val is kept, and all are paid for."""

from __future__ import annotations

import math
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
from finefuse.engine.work.searching import quality_of
from finefuse.errors import FinefuseError
from finefuse.nets import Net
from finefuse.testing.small import small_net
from finefuse.types import Budget, Ref, Task, Tuning

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


def test_a_diverging_trial_scores_lowest_and_harms_no_other(run):
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


@pytest.mark.parametrize("quality", [None, float("nan"), float("-inf")])
def test_a_trial_whose_quality_is_no_number_is_the_worst(quality):
    trials = [{"quality": quality}, {"quality": -5.0}]
    assert max(range(2), key=lambda i: quality_of(trials[i])) == 1


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
