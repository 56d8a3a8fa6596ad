"""Metrics, further test sets and schemes of a suite are for the tasks of its data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finefuse.declare.facts import Facts
from finefuse.declare.strategy import Strategy
from finefuse.declare.suite_text import Source
from finefuse.types import Ref


def check_tasks(source: Source, facts: Facts, plain: Mapping[str, Sequence[Ref]], schemes: Sequence[Strategy]) -> None:
    """Every data set has a metric for its kind of task, further test sets of its task, and some scheme.

    Raises:
        SuiteError: if that isn't so.
    """
    _check_metrics(source, facts, plain["datasets"], plain["metrics"])
    for i, other in enumerate(plain["also_test"]):
        for dataset in plain["datasets"]:
            if facts.task(other) != facts.task(dataset):
                raise source.error(("also_test", i), f"{other} is another task than {dataset}")
    refusals = [facts.refusal("scheme", s.ref, d) for d in plain["datasets"] for s in schemes if s.is_for(d)]
    if all(refusals):
        why = "; ".join(dict.fromkeys(refusals))
        raise source.error(("schemes",), f"no scheme is for any data set: {why}")


def _check_metrics(source: Source, facts: Facts, datasets: Sequence[Ref], metrics: Sequence[Ref]) -> None:
    kinds = {kind for metric in metrics for kind in facts.metric_kinds(metric)}
    wanted = {facts.task(dataset).kind: dataset for dataset in datasets}
    for kind, dataset in wanted.items():
        if kind not in kinds:
            names = ", ".join(map(str, metrics))
            raise source.error(("metrics",), f"{dataset} is a {kind} task, and none of {names} is for that")
