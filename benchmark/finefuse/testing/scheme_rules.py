"""The rules for fine-tuning schemes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from finefuse.discovery import capabilities
from finefuse.engine.randomness import seeded
from finefuse.engine.train.lent import lent
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net
from finefuse.testing.rules import (
    Check,
    Rule,
    on_small_tasks,
    random_state_kept,
    require,
    require_fine_outputs,
    try_rules,
    two_test_labellings,
)
from finefuse.testing.small import (
    TASKS,
    changed,
    outputs_of,
    prepare_for,
    prepared,
    small_net,
    small_splits,
    small_trainer,
    snapshot,
)
from finefuse.types import Budget, Data, Scheme, Splits, Task, Tuning


def check_scheme(scheme: Any, *, skip: Collection[str] = (), tasks: Sequence[Task] = TASKS) -> None:
    """Try a scheme, a class or an instance, against every rule of `SCHEME_CHECKS` that is not in `skip`.

    `tasks` are what it is tried on, those that it is for: of any kind, tabular, or images of shape (1, 8, 8).

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    try_rules(scheme, SCHEME_RULES, skip, tasks)


class _Witness(SuiteTrainer):
    """A trainer that remembers which stages and which BatchNorm layers it was asked to train."""

    def __init__(self, task: Task, train: Data) -> None:
        super().__init__(task, train, Budget(4, 16), seed=7)
        self.prefixes: set[str] = set()

    def fit(self, model: nn.Module, groups: Iterable[Mapping[str, Any]], **how: Any) -> None:
        """Remember, then train."""
        listed = [{**group, "params": list(group["params"])} for group in groups]
        given = {id(p) for group in listed for p in group["params"]}
        parts = {f"stages.{i}.": stage for i, stage in enumerate(model.stages)} if isinstance(model, Net) else {}
        self.prefixes |= {name for name, part in parts.items() if any(id(p) in given for p in part.parameters())}
        super().fit(model, listed, **how)


def _tune(scheme: Scheme, on: Tuning, trainer: SuiteTrainer | None = None) -> SuiteTrainer:
    """Tune as a run does: with a trainer that is lent, while steps in any loop are counted; return that trainer."""
    trainer = trainer or small_trainer(on.task, on.train, 4)
    with trainer.effort.counting():
        scheme.tune(replace(on, trainer=lent(trainer)))
    return trainer


def _scheme_frozen(scheme: Scheme, task: Task) -> None:
    on = prepared(scheme, task)
    witness = _Witness(task, on.train)
    before, original = snapshot(on.model), snapshot(on.pretrained)
    _tune(scheme, on, witness)
    touched = {name for name in changed(before, on.model) if not name.startswith(("head.", *witness.prefixes))}
    require(not touched, f"{', '.join(sorted(touched))} changed, but the trainer was not given that stage")
    require(not changed(original, on.pretrained), "the pretrained original was changed")


def _scheme_repeats(scheme: Scheme, task: Task) -> None:
    runs = []
    for seed in (1, 2):  # of the global generators, which must not matter
        on = prepared(scheme, task)
        with seeded(seed):
            _tune(scheme, on)
        runs.append(on.model)
    different = changed(snapshot(runs[0]), runs[1])
    require(not different, f"two runs with one seed differ in {', '.join(sorted(different))}")


def _scheme_budget(scheme: Scheme, task: Task) -> None:
    for epochs in (4, 1):
        on = prepared(scheme, task, epochs)
        trainer = _tune(scheme, on, small_trainer(task, on.train, epochs))
        trainer.require_budget_kept()
        idle = capabilities.takes_steps(scheme) is False
        require(not (idle and trainer.spent), f"says that it takes no steps, and took {trainer.spent}")


def _scheme_rng(scheme: Scheme, task: Task) -> None:
    on = prepared(scheme, task)
    with random_state_kept():
        _tune(scheme, on)


def _scheme_test_labels(scheme: Scheme, task: Task) -> None:
    def run(splits: Splits) -> nn.Module:
        on = replace(prepared(scheme, task), train=splits.train, val=splits.val)
        _tune(scheme, on)
        return on.model

    first, second = (run(splits) for splits in two_test_labellings(task))
    require(not changed(snapshot(first), second), "other test labels gave other weights")


def _scheme_shape(scheme: Scheme, task: Task) -> None:
    on = prepared(scheme, task)
    _tune(scheme, on)
    require_fine_outputs(on.model, task)
    again = prepare_for(scheme, small_net(task))
    again.load_state_dict(on.model.state_dict())
    x = small_splits(task).test.x
    require(torch.equal(outputs_of(again, x), outputs_of(on.model, x)), "the weights read back give other outputs")


SCHEME_RULES: dict[str, Rule] = {
    "same-seed-same-bits": _scheme_repeats,
    "frozen-keeps-its-bits": _scheme_frozen,
    "budget-is-kept": _scheme_budget,
    "global-rng-is-untouched": _scheme_rng,
    "test-labels-change-nothing": _scheme_test_labels,
    "output-shape": _scheme_shape,
}
SCHEME_CHECKS: dict[str, Check] = on_small_tasks(SCHEME_RULES)
