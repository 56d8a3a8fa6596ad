"""The rules for fine-tuning schemes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from finefuse.discovery import capabilities
from finefuse.engine.randomness import seeded
from finefuse.engine.train.lent import lent
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.made import figures_of
from finefuse.nets import Net
from finefuse.testing.parameter_rules import strategy_checks
from finefuse.testing.report import Check, Report, conform, require
from finefuse.testing.rules import (
    Rule,
    once,
    random_state_kept,
    require_fine_outputs,
    require_separate_outputs,
    tensors_of,
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
from finefuse.testing.traces import traces
from finefuse.types import Budget, Data, Scheme, Splits, Task, Tuning


def check_scheme(
    scheme: Any,
    *,
    skip: Collection[str] = (),
    expected: Mapping[str, str] | None = None,
    tasks: Sequence[Task] = TASKS,
) -> Report:
    """Try a scheme, a class or an instance, against every rule of `SCHEME_CHECKS` that is not in `skip`.

    `expected` gives reasons for rules that it doesn't keep. `tasks` are what it is tried on, those that it is for: of
    any kind, tabular, or images of shape (1, 8, 8).

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(scheme, scheme_checks(tasks), skip, expected)


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


class _Done(NamedTuple):
    """A scheme at work once: what it was given, and what it changed that is not its own."""

    on: Tuning
    changed: tuple[str, ...]


@once
def _done(scheme: Scheme, task: Task) -> _Done:
    on = prepared(scheme, task)
    recipes = [replace(net.recipe) for net in (on.model, on.pretrained)]
    with traces(tensors_of(train=on.train, val=on.val, source=on.source)) as found:
        _tune(scheme, on)
    if recipes != [on.model.recipe, on.pretrained.recipe]:
        found.append("it changed the recipe of a network")
    return _Done(on, tuple(found))


def _scheme_shape(scheme: Scheme, task: Task) -> None:
    model = _done(scheme, task).on.model
    require_fine_outputs(model, task)
    again = prepare_for(scheme, small_net(task))
    again.load_state_dict(model.state_dict())
    x = small_splits(task).test.x
    require(torch.equal(outputs_of(again, x), outputs_of(model, x)), "the weights read back give other outputs")


def _scheme_traces(scheme: Scheme, task: Task) -> None:
    found = _done(scheme, task).changed
    require(not found, "; ".join(found))


def _scheme_figures(scheme: Scheme, task: Task) -> None:
    figures_of(_done(scheme, task).on)


def _scheme_alone(scheme: Scheme, task: Task) -> None:
    require_separate_outputs(_done(scheme, task).on.model, task)


def tuned_outputs(scheme: Scheme, task: Task) -> Tensor:
    """What a scheme's network says on val."""
    on = _done(scheme, task).on
    return outputs_of(on.model, on.val.x)


SCHEME_RULES: dict[str, Rule] = {
    "same-seed-same-bits": _scheme_repeats,
    "frozen-keeps-its-bits": _scheme_frozen,
    "budget-is-kept": _scheme_budget,
    "global-rng-is-untouched": _scheme_rng,
    "test-labels-change-nothing": _scheme_test_labels,
    "output-shape": _scheme_shape,
    "nothing-else-is-changed": _scheme_traces,
    "figures-are-numbers": _scheme_figures,
    "one-example-at-a-time": _scheme_alone,
}


def scheme_checks(tasks: Sequence[Task] = TASKS) -> dict[str, Check]:
    """What a scheme is tried on: each rule on every task, and its parameters on all of them together."""
    return strategy_checks(SCHEME_RULES, tuned_outputs, tasks)


SCHEME_CHECKS: dict[str, Check] = scheme_checks()
