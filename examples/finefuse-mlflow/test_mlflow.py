"""What a run leaves in MLflow: a run for the suite, and one for each row with its scores, costs and parameters."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import finefuse_mlflow
import pytest

import finefuse
from finefuse import Entry, hookimpl
from finefuse.testing import POINTS, small_net, small_splits
from finefuse.types import Budget

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: nothing of this package was tested")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of what it imports

SUITE = {
    "name": "logged",
    "seeds": [0, 1],
    "budget": {"epochs": 1},
    "datasets": ["small-points"],
    "backbones": ["small-mlp"],
    "schemes": ["full", {"use": "head-sgd", "lr": 0.01}],
    "fusions": ["mean-probs"],
    "latency": [],
}


@dataclass(frozen=True)
class SmallPoints:
    task = POINTS

    def fingerprint(self) -> str:
        return "1"

    def splits(self, seed: int) -> Any:
        return small_splits(POINTS)


@dataclass(frozen=True)
class SmallMlp:
    source = None

    def fingerprint(self) -> str:
        return ""

    def budget(self) -> Budget:
        return Budget(1)

    def build(self, task: Any) -> Any:
        return small_net(task)

    def tune(self, on: Any) -> None:
        raise AssertionError("it has random weights")


@hookimpl
def finefuse_datasets() -> Any:
    yield Entry("small-points", SmallPoints, "points")


@hookimpl
def finefuse_backbones() -> Any:
    yield Entry("small-mlp", SmallMlp, "a perceptron")


@pytest.fixture
def tracked(tmp_path: Path) -> tuple[Any, Any]:
    """The suite's results, and a client of what was logged."""
    uri = f"sqlite:///{tmp_path}/runs.db"
    run = finefuse.run(
        SUITE,
        plugins=[finefuse_mlflow, sys.modules[__name__]],
        observers=[{"use": "mlflow", "tracking_uri": uri, "experiment": "tried"}],
        out=tmp_path / "out",
        store=tmp_path / "store",
        device="cpu",
        quiet=True,
    )
    return run, mlflow.MlflowClient(uri)


def test_every_row_is_a_nested_run_with_its_numbers(tracked: Any) -> None:
    run, client = tracked
    experiment = client.get_experiment_by_name("tried").experiment_id
    logged = client.search_runs([experiment], max_results=100)
    (parent,) = [one for one in logged if "mlflow.parentRunId" not in one.data.tags]
    assert (parent.info.run_name, parent.info.status) == ("logged", "FINISHED")
    nested = {one.data.tags["finefuse.key"]: one for one in logged if one is not parent}
    assert nested.keys() == {row["key"] for row in run.rows}
    for row in run.rows:
        one = nested[row["key"]]
        assert one.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert one.data.tags["finefuse.cell"] == row["cell"]
        scores = {name: row[name] for name in row if name.startswith("test.") and math.isfinite(row[name])}
        assert scores.items() <= one.data.metrics.items()
        assert one.data.params == {name: str(value) for name, value in row["params"].items()}
    assert any("test.accuracy" in one.data.metrics for one in nested.values())


def test_a_failed_row_fails_its_run_and_names_are_made_fit(tmp_path: Path) -> None:
    observer = finefuse_mlflow.Mlflow(tracking_uri=f"sqlite:///{tmp_path}/runs.db")

    class Plan:
        name = "by hand"
        jobs = ()

    row = {"cell": "tune/x", "key": "k", "status": "failed", "params": {"of": {"use": "full"}}, "also.a(b=1).nll": 2.0}
    observer.run_begins(Plan(), 1, 0)
    observer.run_ends([{**row, "test.nll": math.nan, "test.accuracy": None}])
    one = observer.client.get_run(observer.runs["k"])
    assert one.info.status == observer.client.get_run(observer.runs[""]).info.status == "FAILED"
    assert one.data.metrics == {"also.a_b_1_.nll": 2.0}
    assert one.data.params == {"of": "{'use': 'full'}"}
