"""What bounds a pool's fusions, and how much its members differ."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from finefuse.discovery import capabilities
from finefuse.engine.measure.scores import score_of
from finefuse.nets import quality
from finefuse.types import Metric, Record, Splits, Task


def bounds(metrics: Mapping[str, Metric], splits: Splits, val: Tensor, test: Tensor) -> Record:
    """Scores of the member that is best on val, of the mean member and of an oracle; and the pool's diversity.

    `val` and `test` are the members' outputs (members, N, outputs). The oracle takes for each test example the member
    that is right and surest; where none is right, the one that comes nearest.
    """
    best = max(range(len(val)), key=lambda m: quality(splits.task, val[m], splits.val))
    wise = oracle(splits.task, test, splits.test.y)
    fields: Record = {"metrics": list(metrics), "best": best}
    for name, metric in metrics.items():
        each = [score_of(name, metric, outputs, splits.test.y) for outputs in test]
        fields[f"single.test.{name}"] = each[best]
        fields[f"mean.test.{name}"] = sum(each) / len(each)
        fields[f"oracle.test.{name}"] = score_of(name, metric, wise, splits.test.y)
        fields[f"better.{name}"] = "higher" if capabilities.higher_is_better(metric) else "lower"
    return fields | diversity(splits.task, test, splits.test.y)


def oracle(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    """For every example (N,) the outputs of the member that knows it best, (N, outputs)."""
    if task.kind == "classification":
        sure = outputs.log_softmax(-1).gather(-1, y.expand(len(outputs), -1)[..., None])[..., 0]
        merit = sure + torch.where(outputs.argmax(-1) == y, 0.0, sure.min() - 1)  # any right one before any wrong one
    else:
        merit = -(outputs - y).square().sum(-1)
    return outputs[merit.argmax(0), torch.arange(len(y), device=y.device)]


def diversity(task: Task, outputs: Tensor, y: Tensor) -> Record:
    """Means over all pairs of members, from their outputs (members, N, outputs).

    Classification: how often just one of the two is right, Yule's Q, and the correlation of being right (Kuncheva and
    Whitaker 2003, doi 10.1023/A:1022859003006). Regression: the correlation of residuals. None where it isn't defined.
    """
    pairs = list(combinations(range(len(outputs)), 2))
    if not pairs:
        return {}
    if task.kind != "classification":
        residuals = (outputs - y).flatten(1).double()
        return {"correlation": _mean([_ratio(*_covariance(residuals[i], residuals[j])) for i, j in pairs])}
    right = (outputs.argmax(-1) == y).double()
    tables = [_table(right[i], right[j]) for i, j in pairs]
    return {
        "disagreement": _mean([(one + other) / len(y) for _, one, other, _ in tables]),
        "q": _mean([_ratio(a * d - b * c, a * d + b * c) for a, b, c, d in tables]),
        "correlation": _mean(
            [_ratio(a * d - b * c, ((a + b) * (c + d) * (a + c) * (b + d)) ** 0.5) for a, b, c, d in tables]
        ),
    }


def _table(one: Tensor, other: Tensor) -> tuple[float, float, float, float]:
    """How often both are right, the first alone, the second alone, and neither."""
    parts = (one * other, one * (1 - other), (1 - one) * other, (1 - one) * (1 - other))
    return tuple(float(part.sum()) for part in parts)  # type: ignore[return-value]


def _covariance(one: Tensor, other: Tensor) -> tuple[float, float]:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other), float(one.norm() * other.norm())


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
