"""How rules are tried, and what those for schemes and for fusions have in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from finefuse.discovery import capabilities
from finefuse.engine.randomness import seeded
from finefuse.errors import NotApplicable
from finefuse.testing.report import Check, NotRun, made, require
from finefuse.testing.small import TASKS, outputs_of, small_splits
from finefuse.types import Data, Splits, Task

T = TypeVar("T")
Rule = Callable[[Any, Task], None]
SEPARATE = 12
"""Examples that are asked about one by one."""
SEED = 862_911_437
"""Of the global generators while a strategy is tried: none that a strategy would seed them with itself."""


def once(run: Callable[[Any, Task], T]) -> Callable[[Any, Task], T]:
    """A run whose last results are kept, for the rules that only look at them."""
    kept: dict[Task, tuple[Any, T]] = {}

    def result(strategy: Any, task: Task) -> T:
        if task not in kept or kept[task][0] is not strategy:
            kept[task] = strategy, run(strategy, task)
        return kept[task][1]

    return result


def is_for(strategy: Any, task: Task) -> bool:
    """Whether a strategy, in its `kinds`, says that it is for tasks of this kind."""
    kinds = capabilities.kinds(strategy)
    return not kinds or task.kind in kinds


def on_every_task(strategy: Any, rule: Rule, tasks: Sequence[Task]) -> None:
    """Try a rule on every task that the strategy is for; there must be one."""
    strategy = made(strategy)
    refusals, without = [], []
    for task in tasks:
        if not is_for(strategy, task):
            refusals.append(f"not for {task.kind}")
            continue
        try:
            rule(strategy, task)
        except NotApplicable as reason:
            refusals.append(str(reason))
        except NotRun as reason:
            without.append(str(reason))
    require(len(refusals) < len(tasks), f"not applicable to any of {len(tasks)} small tasks: {'; '.join(refusals)}")
    if without and len(refusals) + len(without) == len(tasks):
        raise NotRun("; ".join(dict.fromkeys(without)))


def require_fine_outputs(model: nn.Module, task: Task) -> None:
    """Outputs are finite and of the task's shape, for one example too."""
    x = small_splits(task).test.x
    for n in (len(x), 1):
        shape = tuple(outputs_of(model, x[:n]).shape)
        require(shape == (n, task.outputs), f"{n} examples gave outputs of shape {shape}, not {(n, task.outputs)}")
    require(outputs_of(model, x).isfinite().all(), "outputs are not finite")


def require_separate_outputs(model: nn.Module, task: Task) -> None:
    """What a model says of an example doesn't depend on the others in its batch."""
    x = small_splits(task).test.x[:SEPARATE]
    together = outputs_of(model, x)
    alone = torch.cat([outputs_of(model, x[n : n + 1]) for n in range(len(x))])
    require(
        torch.allclose(alone, together, atol=1e-4, rtol=1e-4),
        "outputs for an example depend on the other examples of its batch",
    )


def tensors_of(**given: Data | Tensor | nn.Module | None) -> dict[str, Tensor]:
    """The tensors of what a strategy is given, by what a sentence may call them."""
    found: dict[str, Tensor] = {}
    for name, what in given.items():
        if isinstance(what, Tensor):
            found[f"`{name}`"] = what
        elif isinstance(what, nn.Module):
            found |= {f"`{name}`'s {part}": tensor for part, tensor in what.state_dict().items()}
        elif what is not None:
            found |= {f"`{name}.{side}`": tensor for side in "xy" if isinstance(tensor := vars(what).get(side), Tensor)}
    return found


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Fails if a global generator was used inside, and puts it back."""

    def states() -> dict[str, Any]:
        return {
            "torch": torch.get_rng_state().tolist(),
            "numpy": [str(part) for part in np.random.get_state()],
            "random": random.getstate(),
        }

    with seeded(SEED):
        before = states()
        yield
        used = [name for name, state in states().items() if state != before[name]]
    require(not used, f"the global generator of {', '.join(used)} was used; there is on.rng (of.rng in a fusion)")


def two_test_labellings(task: Task) -> Iterator[Splits]:
    """The small splits twice, the second time with test labels moved on by one; one at a time is alive."""
    for shift in (0, 1):
        test = small_splits(task).test
        yield replace(small_splits(task), test=Data(test.x, test.y.roll(shift, 0)))


def on_tasks(rules: Mapping[str, Rule], tasks: Sequence[Task] = TASKS) -> dict[str, Check]:
    """Rules for one task as checks of a strategy."""
    return {name: partial(on_every_task, rule=rule, tasks=tasks) for name, rule in rules.items()}
