"""Bounds of a pool's fusions, and how much its members differ."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from finefuse.discovery import capabilities
from finefuse.engine.measure.scores import score_of
from finefuse.types import Metric, Record, Splits, Task


def bounds(metrics: Mapping[str, Metric], splits: Splits, val: Tensor, test: Tensor) -> Record:
    """Scores of the member that is best on val, of the mean member and of an oracle; and the pool's diversity.

    `val` and `test` are the members' outputs (members, N, outputs). The oracle picks for each test example the member
    that is right and most confident; where none is right, the one that comes closest.
    """
    best = max(range(len(val)), key=lambda m: splits.task.quality(val[m], splits.val))
    wise = oracle(splits.task, test, splits.test.y)
    fields: Record = {"metrics": list(metrics), "best": best}
    for name, metric in metrics.items():
        each = [score_of(name, metric, outputs, splits.test.y) for outputs in test]
        fields[f"single.test.{name}"] = each[best]
        fields[f"mean.test.{name}"] = sum(each) / len(each)
        fields[f"oracle.test.{name}"] = score_of(name, metric, wise, splits.test.y)
        fields[f"better.{name}"] = "higher" if capabilities.higher_is_better(metric) else "lower"
    return {**fields, **splits.task.diversity(test, splits.test.y)}


def oracle(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    """For every example (N,) the outputs of the member with the best output, (N, outputs)."""
    return outputs[task.merits(outputs, y).argmax(0), torch.arange(len(y), device=y.device)]
