"""The observer `mlflow`: an MLflow run for each run of a suite, with a nested one for each of its rows."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from finefuse import Entry, hookimpl
from finefuse.types import Agenda, Job, Observer, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAGS = ("cell", "status", "reason", "kind", "dataset", "backbone", "label", "pool", "seed", "key", "machine", "device")
NUMBERS = re.compile(r"(test|val|also|latency)\..+|(cpu_)?seconds|peak_memory|flops|parameters|bytes|steps|gradients")
GOOD = ("ok", "skipped")


@dataclass(frozen=True)
class Mlflow:
    """Logs scores and costs of every row as it is finished; rows that were kept from before come at the end.

    `tracking_uri` None takes MLFLOW_TRACKING_URI, or what MLflow does without. The client is the observer's own, so
    MLflow's active run is left alone.
    """

    experiment: str = "finefuse"
    tracking_uri: str | None = None

    @cached_property
    def client(self) -> MlflowClient:
        """The connection."""
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)

    @cached_property
    def runs(self) -> dict[str, str]:
        """MLflow's runs by the keys of rows; that of the whole suite is under ""."""
        return {}

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:
        """Open a run, in an experiment that is made if there is none."""
        known = self.client.get_experiment_by_name(self.experiment)
        place = known.experiment_id if known else self.client.create_experiment(self.experiment)
        tags = {"finefuse.waiting": str(waiting), "finefuse.done": str(done)}
        self.runs[""] = self.client.create_run(place, run_name=plan.name, tags=tags).info.run_id

    def job_ends(self, job: Job, record: Record) -> None:  # noqa: ARG002
        """Log the row."""
        self.log(record)

    def run_ends(self, records: Sequence[Record]) -> None:
        """Log the rows that were there before, and close the run."""
        for record in records:
            if record["key"] not in self.runs:
                self.log(record)
        self._close(self.runs[""], good=all(record["status"] in GOOD for record in records))

    def log(self, record: Record) -> None:
        """Make a nested run of a row: text as tags, parameters as parameters, finite scores and costs as metrics."""
        from mlflow.entities import Metric, Param

        parent = self.client.get_run(self.runs[""]).info
        tags = {f"finefuse.{name}": str(record.get(name, "")) for name in TAGS}
        tags["mlflow.parentRunId"] = parent.run_id
        run = self.client.create_run(parent.experiment_id, run_name=record["cell"], tags=tags).info.run_id
        now = int(1000 * time.time())
        metrics = [
            Metric(_allowed(name), float(value), now, 0)
            for name, value in record.items()
            if NUMBERS.fullmatch(name) and value is not None and math.isfinite(value)
        ]
        params = [Param(_allowed(name), str(value)) for name, value in record["params"].items()]
        self.client.log_batch(run, metrics=metrics, params=params)
        self._close(run, good=record["status"] in GOOD)
        self.runs[record["key"]] = run

    def _close(self, run: str, *, good: bool) -> None:
        self.client.set_terminated(run, "FINISHED" if good else "FAILED")


def _allowed(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-./ ]", "_", name)


@hookimpl
def finefuse_observers() -> Iterator[Entry[Observer]]:
    """Make it known to finefuse."""
    yield Entry("mlflow", Mlflow, "logs every row to MLflow", requires=("mlflow",))
