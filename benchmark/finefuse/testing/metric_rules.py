"""The rules for metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from finefuse.discovery import capabilities
from finefuse.engine.measure.scores import score_of
from finefuse.testing.report import Check, NotRun, Report, conform, made, require
from finefuse.testing.rules import random_state_kept
from finefuse.testing.small import LINE, POINTS, small_data
from finefuse.testing.traces import leaving_no_trace
from finefuse.types import Metric, Task

CLOSE = 1e-5
TASKS: dict[str, Task] = {"classification": POINTS, "regression": LINE}


def check_metric(metric: Any, *, skip: Collection[str] = (), expected: Mapping[str, str] | None = None) -> Report:
    """Try a metric, a class or an instance, against every rule of `METRIC_CHECKS` that is not in `skip`.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(metric, METRIC_CHECKS, skip, expected)


Score = Callable[[Tensor, Tensor], float]


def _on_every_kind(metric: Any, rule: Callable[..., None]) -> None:
    """Try a rule on the built-in kinds of task that a metric is for."""
    metric = made(metric)
    known = [kind for kind in capabilities.metric_kinds(metric) if kind in TASKS]
    if not known:
        raise NotRun("it is for none of the built-in kinds of task")
    for kind in known:
        y = small_data(TASKS[kind], 60, 5).y
        right = 9.0 * torch.nn.functional.one_hot(y, 3) if TASKS[kind].classes else y.clone()
        noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
        rule(metric, partial(score_of, type(metric).__name__, metric), right, 0.1 * right + noise, y)


def _number(metric: Metric, score: Score, right: Tensor, rough: Tensor, y: Tensor) -> None:  # noqa: ARG001
    for outputs, targets in ((rough, y), (right, y), (-right, y), (rough[:2], y[:2]), (rough * 1e4, y)):
        found = score(outputs, targets)
        require(not math.isnan(found), f"{len(targets)} examples gave the score {found}")


def _direction(metric: Metric, score: Score, right: Tensor, rough: Tensor, y: Tensor) -> None:
    sign = 1 if capabilities.higher_is_better(metric) else -1
    best, worse, worst = (sign * score(outputs, y) for outputs in (right, rough, -right))
    want = "higher" if sign > 0 else "lower"
    require(best > worst, f"right answers score {sign * best:g}, wrong ones {sign * worst:g}, and {want} is better")
    require(best >= worse, f"right answers score {sign * best:g}, noisy ones {sign * worse:g}, and {want} is better")


def _permutation(metric: Metric, score: Score, right: Tensor, rough: Tensor, y: Tensor) -> None:  # noqa: ARG001
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    _require_close("the examples in another order", score(rough, y), score(rough[order], y[order]))


def _weights(metric: Metric, score: Score, right: Tensor, rough: Tensor, y: Tensor) -> None:  # noqa: ARG001
    _require_close("every example twice", score(rough, y), score(torch.cat([rough, rough]), torch.cat([y, y])))


def _require_close(what: str, before: float, after: float) -> None:
    close = math.isclose(before, after, rel_tol=CLOSE, abs_tol=CLOSE)
    require(close, f"{what} changes the score from {before:g} to {after:g}")


def _repeats(metric: Metric, score: Score, right: Tensor, rough: Tensor, y: Tensor) -> None:  # noqa: ARG001
    first = score(rough, y)
    score(right, y)
    again = score(rough, y)
    require(first == again, f"the same outputs score {first!r}, and later {again!r}")


def _traces(metric: Metric, score: Score, right: Tensor, rough: Tensor, y: Tensor) -> None:  # noqa: ARG001
    with random_state_kept(), leaving_no_trace({"the outputs": rough, "the targets": y}):
        score(rough, y)


RULES: Mapping[str, Callable[..., None]] = {
    "gives-a-number": _number,
    "direction-is-as-declared": _direction,
    "order-of-examples-does-not-matter": _permutation,
    "every-example-weighs-the-same": _weights,
    "same-outputs-same-score": _repeats,
    "nothing-else-is-changed": _traces,
}
METRIC_CHECKS: dict[str, Check] = {name: partial(_on_every_kind, rule=rule) for name, rule in RULES.items()}
