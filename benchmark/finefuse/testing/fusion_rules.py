"""The rules for fusions."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from finefuse.discovery import capabilities
from finefuse.engine.randomness import seeded
from finefuse.engine.train.lent import lent
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import CombineOutputs, Net, averaged
from finefuse.testing.parameter_rules import strategy_checks
from finefuse.testing.report import Check, NotRun, Report, conform, require
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
    small_fusing,
    small_members,
    small_splits,
    small_trainer,
    snapshot,
)
from finefuse.testing.traces import traces
from finefuse.types import Fusing, Fusion, Law, Splits, Task


def check_fusion(
    fusion: Any,
    *,
    skip: Collection[str] = (),
    expected: Mapping[str, str] | None = None,
    tasks: Sequence[Task] = TASKS,
) -> Report:
    """Try a fusion, a class or an instance, against every rule of `FUSION_CHECKS` that is not in `skip`.

    `expected` gives reasons for rules that it doesn't keep. `tasks` are what it is tried on, those that it is for: of
    any kind, tabular, or images of shape (1, 8, 8).

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(fusion, fusion_checks(tasks), skip, expected)


def _fused(fusion: Fusion, task: Task, nets: list[Net] | None = None, trainer: SuiteTrainer | None = None) -> nn.Module:
    """Fuse as a run does: with a trainer that is lent."""
    return fusion.fuse(_given(fusion, task, nets, trainer)).eval()


def _given(fusion: Fusion, task: Task, nets: list[Net] | None = None, trainer: SuiteTrainer | None = None) -> Fusing:
    labels = capabilities.uses_labels(fusion)
    of = small_fusing(nets or small_members(task), task, fusion.needs, labels=labels)
    if "trainer" in fusion.needs:
        of = replace(of, trainer=lent(trainer or small_trainer(task), labels=labels))
    return of


def _fusion_frozen(fusion: Fusion, task: Task) -> None:
    nets = small_members(task)
    before = [snapshot(net) for net in nets]
    _fused(fusion, task, nets)
    touched = [f"m{i}" for i, net in enumerate(nets) if changed(before[i], net)]
    require(not touched, f"members {', '.join(touched)} were changed")


def _fusion_repeats(fusion: Fusion, task: Task) -> None:
    outputs = []
    for seed in (1, 2):
        with seeded(seed):
            outputs.append(outputs_of(_fused(fusion, task), small_splits(task).val.x))
    require(torch.equal(*outputs), "two runs with one seed differ")


def _fusion_budget(fusion: Fusion, task: Task) -> None:
    trainer = small_trainer(task)
    of = _given(fusion, task, trainer=trainer)
    with trainer.effort.counting():
        fusion.fuse(of)
    trainer.effort.require_within(trainer.budget, trainer.spent, capabilities.own_gradients(fusion, of))


def _fusion_rng(fusion: Fusion, task: Task) -> None:
    nets = small_members(task)
    with random_state_kept():
        _fused(fusion, task, nets)


def _fusion_test_labels(fusion: Fusion, task: Task) -> None:
    def run(splits: Splits) -> Tensor:
        return outputs_of(_fused(fusion, task), splits.val.x)

    require(torch.equal(*(run(splits) for splits in two_test_labellings(task))), "other test labels gave other outputs")


class _Done(NamedTuple):
    """A fusion at work once: the members it was given, what it gave, and what it changed that is not its own."""

    members: list[Net]
    fused: nn.Module
    changed: tuple[str, ...]


@once
def _done(fusion: Fusion, task: Task) -> _Done:
    nets = small_members(task)
    of = _given(fusion, task, nets)
    outputs = {f"val_outputs of {m.name}": m.val_outputs for m in of.members if isinstance(m.val_outputs, Tensor)}
    given = tensors_of(train=of.train, val=of.val, base=of.base, test_inputs=of.test_inputs)
    recipes = [replace(net.recipe) for net in nets]
    with traces(given | outputs) as found:
        fused = fusion.fuse(of)
    if recipes != [net.recipe for net in nets]:
        found.append("it changed the recipe of a member")
    require(isinstance(fused, nn.Module), f"it gave a {type(fused).__name__}, and not a module")
    return _Done(nets, fused.eval(), tuple(found))


def _fusion_shape(fusion: Fusion, task: Task) -> None:
    fused = _done(fusion, task).fused
    require_fine_outputs(fused, task)
    if isinstance(fused, CombineOutputs):
        x = small_splits(task).test.x
        stored = fused.combine(torch.stack([outputs_of(net, x) for net in fused.materialise()]))
        require(torch.allclose(stored, outputs_of(fused, x), atol=1e-5), "combine and forward give different outputs")


def _fusion_one_member(fusion: Fusion, task: Task) -> None:
    _unless_excepted(fusion, "one member")
    net = small_members(task, 1)[0]
    _require_same("one member gives other answers than itself", task, _fused(fusion, task, [net]), net)


def _fusion_equal_members(fusion: Fusion, task: Task) -> None:
    _unless_excepted(fusion, "equal members")
    net = small_members(task, 1)[0]
    fused = _fused(fusion, task, [net, copy.deepcopy(net), copy.deepcopy(net)])
    _require_same("three equal members give other answers than each", task, fused, net)


def _fusion_order(fusion: Fusion, task: Task) -> None:
    _unless_excepted(fusion, "order")
    one, two, three = small_members(task)
    fused = _fused(fusion, task, [one, two, three])
    _require_same("the order of the members matters", task, fused, _fused(fusion, task, [three, one, two]))


def _fusion_buffers(fusion: Fusion, task: Task) -> None:
    members, fused, _ = _done(fusion, task)
    if not isinstance(fused, Net):
        raise NotRun("what it gives is no Net")
    for name, buffer in fused.named_buffers():
        if name.endswith("running_var"):
            require((buffer >= 0).all(), f"{name} is negative")
        if not buffer.is_floating_point() and not capabilities.alone(fusion):
            given = [dict(member.named_buffers())[name] for member in members]
            require(any(torch.equal(buffer, other) for other in given), f"{name} is none of the members'")


def _fusion_follows(fusion: Any, task: Task) -> None:
    if not capabilities.follows(fusion):
        raise NotRun("it has no `follow`")
    nets = small_members(task)
    before = [snapshot(net) for net in nets]
    merged = averaged(small_fusing(nets, task).members, [1 / len(nets)] * len(nets), None)
    once, again = (fusion.follow(copy.deepcopy(merged), _given(fusion, task, nets)) for _ in range(2))
    require(isinstance(once, Net), f"as a stage it gave a {type(once).__name__}, and not a Net")
    require_fine_outputs(once.eval(), task)
    x = small_splits(task).val.x
    require(torch.equal(outputs_of(once, x), outputs_of(again.eval(), x)), "as a stage two runs with one seed differ")
    touched = [f"m{i}" for i, net in enumerate(nets) if changed(before[i], net)]
    require(not touched, f"as a stage it changed members {', '.join(touched)}")


def _unless_excepted(fusion: Fusion, law: Law) -> None:
    """Not for a fusion that says it doesn't keep the law, or has no members."""
    if law in capabilities.except_for(fusion):
        raise NotRun(f"its `except_for` names {law!r}")
    if capabilities.alone(fusion):
        raise NotRun("it makes its own members")


def _require_same(message: str, task: Task, one: nn.Module, other: nn.Module) -> None:
    """The same answers; where these are right or wrong, outputs on one scale only if both are networks."""
    first, second = (outputs_of(model, small_splits(task).test.x) for model in (one, other))
    if task.classes and not (isinstance(one, Net) and isinstance(other, Net)):
        require(torch.equal(first.argmax(-1), second.argmax(-1)), message)
    else:
        require(torch.allclose(first, second, atol=1e-4, rtol=1e-4), message)


def _fusion_traces(fusion: Fusion, task: Task) -> None:
    found = _done(fusion, task).changed
    require(not found, "; ".join(found))


def _fusion_level(fusion: Fusion, task: Task) -> None:
    fused, level = _done(fusion, task).fused, capabilities.level(fusion)
    if level == "weight":
        require(isinstance(fused, Net), f"it says level 'weight', and gave a {type(fused).__name__} and not a Net")
    elif level == "output":
        require(not isinstance(fused, Net), "it says level 'output', and gave a Net, whose level is 'weight'")


def _fusion_alone(fusion: Fusion, task: Task) -> None:
    require_separate_outputs(_done(fusion, task).fused, task)


def fused_outputs(fusion: Fusion, task: Task) -> Tensor:
    """What a fusion's module says on val."""
    return outputs_of(_done(fusion, task).fused, small_splits(task).val.x)


FUSION_RULES: dict[str, Rule] = {
    "same-seed-same-bits": _fusion_repeats,
    "members-keep-their-bits": _fusion_frozen,
    "budget-is-kept": _fusion_budget,
    "global-rng-is-untouched": _fusion_rng,
    "test-labels-change-nothing": _fusion_test_labels,
    "output-shape": _fusion_shape,
    "one-member-is-itself": _fusion_one_member,
    "equal-members-are-each": _fusion_equal_members,
    "order-does-not-matter": _fusion_order,
    "buffers-survive": _fusion_buffers,
    "a-stage-gives-a-network": _fusion_follows,
    "nothing-else-is-changed": _fusion_traces,
    "level-is-as-declared": _fusion_level,
    "one-example-at-a-time": _fusion_alone,
}


def fusion_checks(tasks: Sequence[Task] = TASKS) -> dict[str, Check]:
    """What a fusion is tried on: each rule on every task, and its parameters on all of them together."""
    return strategy_checks(FUSION_RULES, fused_outputs, tasks)


FUSION_CHECKS: dict[str, Check] = fusion_checks()
