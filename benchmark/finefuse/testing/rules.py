"""How rules are tried, and what those for schemes and for fusions have in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from finefuse.discovery import capabilities
from finefuse.engine.randomness import seeded
from finefuse.errors import NotApplicable
from finefuse.testing.small import TASKS, outputs_of, small_splits
from finefuse.types import Data, Splits, Task

Check = Callable[[Any], None]
Rule = Callable[[Any, Task], None]


def require(holds: object, message: str) -> None:
    """Complain unless something holds."""
    if not holds:  # not a plain assert, which pytest would rewrite and whose words it would change
        raise AssertionError(message)


def try_rules(strategy: Any, checks: Mapping[str, Rule], skip: Collection[str], tasks: Sequence[Task]) -> None:
    """Try every rule that is not in `skip` on these tasks, and complain once about all that are broken."""
    unknown = set(skip) - set(checks)
    require(not unknown, f"there is no rule {', '.join(sorted(unknown))}; there are {', '.join(checks)}")
    broken = []
    for name, check in checks.items():
        try:
            if name not in skip:
                on_every_task(strategy, check, tasks)
        except Exception as error:
            told = str(error) if isinstance(error, AssertionError) else f"raised {type(error).__name__}: {error}"
            broken.append(f"  {name}: {told}")
    name = strategy.__name__ if isinstance(strategy, type) else repr(strategy)
    require(not broken, f"{name} breaks {len(broken)} of {len(checks) - len(skip)} rules:\n" + "\n".join(broken))


def is_for(strategy: Any, task: Task) -> bool:
    """Whether a strategy, in its `kinds`, says that it is for tasks of this kind."""
    kinds = capabilities.kinds(strategy)
    return not kinds or task.kind in kinds


def on_every_task(strategy: Any, rule: Rule, tasks: Sequence[Task]) -> None:
    """Try a rule on every task that the strategy is for; there must be one."""
    strategy = strategy() if isinstance(strategy, type) else strategy
    refusals = []
    for task in tasks:
        if not is_for(strategy, task):
            refusals.append(f"not for {task.kind}")
            continue
        try:
            rule(strategy, task)
        except NotApplicable as reason:
            refusals.append(str(reason))
    require(len(refusals) < len(tasks), f"not applicable to any of {len(tasks)} small tasks: {'; '.join(refusals)}")


def require_fine_outputs(model: nn.Module, task: Task) -> None:
    """Outputs are finite and of the task's shape, for one example too."""
    x = small_splits(task).test.x
    for n in (len(x), 1):
        shape = tuple(outputs_of(model, x[:n]).shape)
        require(shape == (n, task.outputs), f"{n} examples gave outputs of shape {shape}, not {(n, task.outputs)}")
    require(outputs_of(model, x).isfinite().all(), "outputs are not finite")


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Fails if a global generator was used inside, and puts it back."""

    def states() -> dict[str, Any]:
        return {
            "torch": torch.get_rng_state().tolist(),
            "numpy": [str(part) for part in np.random.get_state()],
            "random": random.getstate(),
        }

    with seeded(0):
        before = states()
        yield
        used = [name for name, state in states().items() if state != before[name]]
    require(not used, f"the global generator of {', '.join(used)} was used; there is on.rng (of.rng in a fusion)")


def two_test_labellings(task: Task) -> Iterator[Splits]:
    """The small splits twice, the second time with test labels moved on by one; one at a time is alive."""
    for shift in (0, 1):
        test = small_splits(task).test
        yield replace(small_splits(task), test=Data(test.x, test.y.roll(shift, 0)))


def on_small_tasks(rules: Mapping[str, Rule]) -> dict[str, Check]:
    """Rules for one task as checks of a strategy, on the kit's own tasks."""
    return {name: partial(on_every_task, rule=rule, tasks=TASKS) for name, rule in rules.items()}
