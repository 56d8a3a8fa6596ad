"""The observer `mlflow-rows`: MLflow's run for a suite, with a nested one for each row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finefuse import Entry, hookimpl
from finefuse.types import Agenda, Job, Observer, Record


@dataclass(frozen=True)
class MlflowRows:
    """Scores and costs of each row as metrics; examples/finefuse-mlflow logs more, and leaves MLflow's active run."""

    experiment: str = "finefuse"

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:  # noqa: ARG002
        import mlflow

        mlflow.set_experiment(self.experiment)
        mlflow.start_run(run_name=plan.name)

    def job_ends(self, job: Job, record: Record) -> None:
        import mlflow

        numbers = {name: value for name, value in record.items() if isinstance(value, float) and math.isfinite(value)}
        with mlflow.start_run(run_name=job.cell, nested=True, tags={"status": record["status"]}):
            mlflow.log_metrics(numbers)

    def run_ends(self, records: Sequence[Record]) -> None:  # noqa: ARG002
        import mlflow

        mlflow.end_run()


@hookimpl
def finefuse_observers() -> Iterator[Entry[Observer]]:
    yield Entry("mlflow-rows", MlflowRows, "a run of MLflow for each row", requires=("mlflow",))
