"""The rules for backbones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.randomness import seeded
from finefuse.errors import NotApplicable
from finefuse.nets import Net, evaluation
from finefuse.testing.report import Check, Report, conform, made, require
from finefuse.testing.rules import require_fine_outputs, require_separate_outputs
from finefuse.testing.small import TASKS, changed, small_data, snapshot
from finefuse.testing.traces import leaving_no_trace
from finefuse.types import Backbone, Budget, Recipe, Task

SEED = 5


def check_backbone(
    backbone: Any,
    *,
    skip: Collection[str] = (),
    expected: Mapping[str, str] | None = None,
    tasks: Sequence[Task] = TASKS,
) -> Report:
    """Try a backbone, a class or an instance, against every rule of `BACKBONE_CHECKS` that is not in `skip`.

    `tasks` are what it is built for, beside that of its source; those that it refuses are left out.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(backbone, backbone_checks(tasks), skip, expected)


def _net(backbone: Backbone, task: Task, seed: int = SEED) -> Net:
    with seeded(seed):
        net = backbone.build(task)
    require(isinstance(net, Net), f"`build` gave a {type(net).__name__}, and not a Net")
    return net.eval()


def _on_every_task(backbone: Any, rule: Callable[[Any, Task], None], tasks: Sequence[Task]) -> None:
    backbone = made(backbone)
    sources = [Registry().build("dataset", backbone.source).task] if backbone.source is not None else []
    tried, refusals = 0, []
    for task in (*sources, *tasks):
        if why := capabilities.refusal(backbone, task, None):
            refusals.append(why)
            continue
        try:
            rule(backbone, task)
        except NotApplicable as reason:
            refusals.append(str(reason))
        else:
            tried += 1
    require(tried, f"it can't take any of {len(refusals)} small tasks: {'; '.join(dict.fromkeys(refusals))}")


def _stages(backbone: Backbone, task: Task) -> None:
    net = _net(backbone, task)
    parts = {**{f"stage {n}": stage for n, stage in enumerate(net.stages)}, "head": net.head}
    held = Counter(id(p) for part in parts.values() for p in {id(p): p for p in part.parameters()}.values())
    names = {id(p): name for name, p in net.named_parameters()}
    outside = [name for key, name in names.items() if key not in held]
    require(not outside, f"{', '.join(outside[:3])} is in no stage and not in the head")
    twice = [names[key] for key, count in held.items() if count > 1]
    require(not twice, f"{', '.join(twice[:3])} is in more than one stage")
    require(len(net.stages), "it has no stages")
    require(isinstance(net.recipe, Recipe), f"its recipe is {net.recipe!r}")
    require(isinstance(backbone.budget(), Budget), f"its budget is {backbone.budget()!r}")


def _repeats(backbone: Backbone, task: Task) -> None:
    one, two = _net(backbone, task), _net(backbone, task)
    different = changed(snapshot(one), two)
    require(not different, f"two builds with one seed differ in {', '.join(sorted(different)[:3])}")


def _any_batch(backbone: Backbone, task: Task) -> None:
    net = _net(backbone, task)
    x = small_data(task, 90, 3).x
    with evaluation(net):
        for size in (1, 2, 7):
            features, shape = net.features(x[:size]), tuple(net(x[:size]).shape)
            require(features.shape == (size, net.head.in_features), f"features have the shape {tuple(features.shape)}")
            require(shape == (size, task.outputs), f"{size} examples gave outputs of shape {shape}")
            require(torch.equal(net.head(features), net(x[:size])), "the head of the features is not the output")
    require_fine_outputs(net, task)
    require_separate_outputs(net, task)


def _trains(backbone: Backbone, task: Task) -> None:
    net, data = _net(backbone, task).train(), small_data(task, 32, 1)
    task.loss(net(data.x), data.y).backward()  # type: ignore[no-untyped-call]
    idle = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    require(not idle, f"no gradient reaches {', '.join(idle[:3])}")


def _exports(backbone: Backbone, task: Task) -> None:
    net, x = _net(backbone, task), small_data(task, 3, 3).x
    program = torch.export.export(net, (x,)).module()
    with evaluation(net):
        _close(program(x), net(x))
    again = _net(backbone, task, SEED + 1)
    again.load_state_dict(net.state_dict())
    with evaluation(net), evaluation(again):
        require(torch.equal(again(x), net(x)), "the weights read back give other outputs")


def _close(one: Tensor, other: Tensor) -> None:
    require(torch.allclose(one, other, atol=1e-4), "what is exported gives other outputs")


def _traces(backbone: Backbone, task: Task) -> None:
    with leaving_no_trace():
        _net(backbone, task)


def _fingerprint(backbone: Any) -> None:
    backbone = made(backbone)
    first, again = backbone.fingerprint(), backbone.fingerprint()
    require(isinstance(first, str), f"its fingerprint is {first!r}, and no text")
    require(first == again, f"its fingerprint is {first!r}, and later {again!r}")


RULES: dict[str, Callable[[Any, Task], None]] = {
    "stages-cover-all-once": _stages,
    "same-seed-same-weights": _repeats,
    "any-batch-size": _any_batch,
    "gradients-reach-all": _trains,
    "can-be-exported": _exports,
    "nothing-else-is-changed": _traces,
}


def backbone_checks(tasks: Sequence[Task] = TASKS) -> dict[str, Check]:
    """Each rule on every task."""
    rules = {name: partial(_on_every_task, rule=rule, tasks=tasks) for name, rule in RULES.items()}
    return rules | {"fingerprint-is-steady": _fingerprint}


BACKBONE_CHECKS: dict[str, Check] = backbone_checks()
