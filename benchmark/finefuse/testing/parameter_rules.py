"""Whether each parameter of a strategy changes something: one that doesn't is a column of a grid with equal scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from finefuse.discovery import parameters
from finefuse.errors import FinefuseError, NotApplicable
from finefuse.testing.report import Check, NotRun, made, require
from finefuse.testing.rules import Rule, is_for, on_tasks
from finefuse.types import Task

Outputs = Callable[[Any, Task], Tensor]
NUMBERS = (0.5, 1, 2, 3, 0.01, 10, 0, -1, 16)


def strategy_checks(rules: Mapping[str, Rule], outputs: Outputs, tasks: Sequence[Task]) -> dict[str, Check]:
    """What a strategy is tried on: each rule on every task, and its parameters on all of them together."""
    counts = partial(every_parameter_counts, outputs=outputs, tasks=tasks)
    return on_tasks(rules, tasks) | {"every-parameter-counts": counts}


def every_parameter_counts(strategy: Any, outputs: Outputs, tasks: Sequence[Task]) -> None:
    """Fail if another value of a parameter, whatever it is, gives the same outputs on every task.

    Raises:
        NotRun: if it has no parameters, or there is one that no other value is known of.
    """
    strategy = made(strategy)
    given = parameters.resolved(strategy)
    if not given:
        raise NotRun("it has no parameters")
    unknown = [name for name in given if not list(_others(strategy, name, given))]
    idle = [name for name in given if name not in unknown]
    for setting in _settings(strategy, given):
        before = {task: _outputs(outputs, setting, task) for task in tasks if is_for(setting, task)} if idle else {}
        held = parameters.resolved(setting)
        idle = [
            name
            for name in idle
            if not any(_differs(outputs, other, before) for other in _others(strategy, name, held))
        ]
    require(not idle, f"{', '.join(idle)} can have any value, and changes nothing on the small tasks")
    if unknown:
        rest = (
            f"; {', '.join(name for name in given if name not in unknown)} count" if len(unknown) < len(given) else ""
        )
        raise NotRun(f"no other value is known for {', '.join(unknown)}{rest}")


def _others(strategy: Any, name: str, given: dict[str, Any]) -> Iterator[Any]:
    """The strategy with some other values of a parameter, those that it allows."""
    cls = type(strategy)
    for value in _candidates(given[name], get_type_hints(cls, include_extras=True)[name]):
        if value == given[name] and type(value) is type(given[name]):
            continue
        try:
            yield parameters.make(cls, given | {name: value}, cls.__name__)
        except FinefuseError:
            continue


def _settings(strategy: Any, given: dict[str, Any]) -> Iterator[Any]:
    """The strategy as it is, then with each other choice for one of its switches: some parameters count only there."""
    yield strategy
    for name, value in given.items():
        if isinstance(value, str | bool):
            yield from _others(strategy, name, given)


def _candidates(value: Any, hint: Any) -> list[Any]:
    choices = [choice for choice in _choices(hint) if choice != value]
    if choices:
        return choices
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [2 * value, value / 2, value + 1, value - 1, value // 2, *NUMBERS]
    if isinstance(value, list) and value:
        return [[2 * one for one in value], [one / 2 for one in value], value[:1]] if _numeric(value) else []
    return [*NUMBERS, True] if value is None else []


def _numeric(values: list[Any]) -> bool:
    return all(isinstance(one, int | float) for one in values)


def _choices(hint: Any) -> list[Any]:
    """What a `Literal` somewhere in a type allows."""
    found: list[Any] = []
    for part in get_args(hint):
        found += [part] if isinstance(part, str) else _choices(part)
    return found


def _outputs(outputs: Outputs, strategy: Any, task: Task) -> Tensor | None:
    """None where a value makes the strategy refuse the task, or fail: that is a change too."""
    try:
        return outputs(strategy, task)
    except (NotApplicable, FloatingPointError, ValueError, FinefuseError):
        return None


def _differs(outputs: Outputs, other: Any, before: dict[Task, Tensor | None]) -> bool:
    for task, first in before.items():
        second = _outputs(outputs, other, task)
        if (first is None) != (second is None):
            return True
        if first is not None and second is not None and not torch.equal(first, second):
            return True
    return False
