"""What of a pool across data sets can be wrong, as far as it can be told before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finefuse.declare.facts import Facts
from finefuse.declare.pools import Pool
from finefuse.declare.strategy import Strategy
from finefuse.declare.suite_text import Source
from finefuse.types import Ref
from finefuse.types.aggregate import Aggregate


def check_tasks_of(source: Source, facts: Facts, pools: Sequence[Pool]) -> None:
    """Networks of one pool across data sets take inputs of one shape.

    Raises:
        SuiteError: if they don't.
    """
    for pool in pools:
        for other in (*pool.datasets[1:], *pool.held_out):
            one, two = facts.task(pool.datasets[0]), facts.task(other)
            if (one.modality, one.input_shape) != (two.modality, two.input_shape):
                raise source.error(
                    ("pools", pool.name, "datasets"),
                    f"{pool.datasets[0]} has {one.modality} inputs of shape {one.input_shape} and {other} "
                    f"{two.modality} inputs of shape {two.input_shape}; bodies are merged for inputs of one shape",
                )


def check_members_of(
    source: Source, pools: Sequence[Pool], schemes: Sequence[Strategy], backbones: Sequence[Ref]
) -> None:
    """A pool across data sets has members of each, and its probe is for those that it holds out.

    Raises:
        SuiteError: if it isn't so for every backbone that the pool has members of.
    """
    by_label = {scheme.label: scheme for scheme in schemes}
    for pool in pools:
        lines = [by_label[label] for label in pool.of]
        for backbone in backbones:
            _check_members(source, pool, lines, backbone, by_label)
        if pool.datasets and not any(line.is_for(d, b) for line in lines for d in pool.datasets for b in backbones):
            raise source.error(("pools", pool.name, "of"), f"has no scheme that is for {pool.datasets[0]}")


def _check_members(
    source: Source, pool: Pool, lines: Sequence[Strategy], backbone: Ref, by_label: Mapping[str, Strategy]
) -> None:
    lacking = [dataset for dataset in pool.datasets if not any(line.is_for(dataset, backbone) for line in lines)]
    if len(lacking) == len(pool.datasets):
        return
    if lacking:
        from_it = f" from {backbone}" if any(line.backbones for line in lines) else ""
        raise source.error(("pools", pool.name, "of"), f"has no scheme that is for {lacking[0]}{from_it}")
    for dataset in pool.held_out:
        if not by_label[pool.probe].is_for(dataset, backbone):
            raise source.error(("pools", pool.name, "probe"), f"{pool.probe} is not for {dataset}")


def check_aggregate(
    source: Source, facts: Facts, pools: Sequence[Pool], metrics: Sequence[Ref], aggregate: Aggregate
) -> None:
    """A ratio of means is of scores that can be added: the tasks of a pool share the metric that they are ranked by.

    Raises:
        SuiteError: if they don't.
    """
    for pool in pools if aggregate.by == "ratio-of-means" else ():
        kinds = [facts.task(dataset).kind for dataset in pool.datasets]
        ranked = [next(metric for metric in metrics if kind in facts.metric_kinds(metric)) for kind in kinds]
        if len(set(ranked)) > 1:
            told = " and ".join(map(str, dict.fromkeys(ranked)))
            raise source.error(("aggregate", "by"), f"adds scores, and the tasks of pool {pool.name} have {told}")
