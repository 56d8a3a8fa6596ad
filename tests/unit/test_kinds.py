"""Strategies that are for some kinds of task, metrics that rank one, and targets that fit none."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import finefuse
from finefuse import Classification, Data, Entry, Splits, hookimpl
from finefuse.cli.check import sentence
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from helpers.suites import LEAST, complaint


@dataclass(frozen=True)
class Picky:
    """A scheme for some kinds of task."""

    kinds = ("ranking", "counts", "regression")

    def tune(self, on: Any) -> None:
        """Never called."""


@dataclass(frozen=True)
class Miscounted:
    """A data set with a class too many in its test split."""

    task = Classification(2, "tabular", (3,))

    def fingerprint(self) -> str:
        return "miscounted"

    def splits(self, seed: int) -> Splits:
        good = Data(torch.zeros(12, 3), torch.arange(12) % 2)
        return Splits(self.task, good, good, Data(good.x, torch.arange(12) % 3))


class Plugin:
    @hookimpl
    def finefuse_schemes(self) -> Any:
        yield Entry("picky", Picky)

    @hookimpl
    def finefuse_datasets(self) -> Any:
        yield Entry("miscounted", Miscounted)


def test_plans_know_whom_a_strategy_is_not_for(plugins: ModuleType) -> None:
    registry = Registry((plugins, Plugin()), entry_points=False)
    told = "picky is for ranking, counts and regression, and shapes is classification"
    both = make_plan(load_suite({**LEAST, "schemes": ["picky", "full"]}, registry), registry)
    assert {(job.label, job.skip) for job in both.jobs if job.kind == "tune"} == {("picky", told), ("full", "")}
    assert sentence(both).endswith(f" jobs; 2 jobs will be skipped: {told}")
    assert complaint({**LEAST, "schemes": ["picky"]}, registry) == f"schemes: no scheme is for any data set: {told}"
    assert load_suite({**LEAST, "schemes": ["picky"], "datasets": ["prices"]}, registry)


@pytest.mark.parametrize(
    ("inner", "nested"), [("zero-step", {"use": "chain", "of": ["zero-step"]}), ("lwf", {"use": "search", "of": "lwf"})]
)
def test_what_a_strategy_is_made_of_counts(inner: str, nested: dict[str, Any]) -> None:
    suite = {"name": "x", "datasets": ["diabetes"], "backbones": ["mlp-s"], "schemes": ["full", nested]}
    skipped = {job.skip for job in finefuse.plan(suite, device="cpu").jobs}
    assert skipped == {"", f"{inner} is for classification, and diabetes is regression"}


def test_a_kind_without_a_default_metric(plugins: ModuleType) -> None:
    hooks = {name: one for name, one in vars(plugins).items() if name.startswith("finefuse_")}
    hooks.pop("finefuse_metrics")
    told = complaint(LEAST, Registry((SimpleNamespace(**hooks),), entry_points=False))
    assert told.startswith("metrics: is missing, and shapes is classification: no plugin provides a metric")


def test_targets_that_do_not_fit_the_task_cost_the_rows(tmp_path: Any) -> None:
    suite = {"name": "x", "datasets": ["miscounted"], "backbones": ["mlp-table"], "schemes": ["full"], "latency": []}
    run = finefuse.run(suite, plugins=Plugin(), workers=0, quiet=True, out=tmp_path / "out", store=tmp_path / "store")
    told = "the data set miscounted is wrong on test: class numbers must lie between 0 and 1, not 0 and 2"
    assert {row["reason"] for row in run.bad if row["status"] == "failed"} == {f"PluginError: {told}"}
