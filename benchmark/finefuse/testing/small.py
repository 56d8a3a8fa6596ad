"""Small tasks, networks and members to try a strategy on: made here, in a moment, on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.randomness import seeded
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net, evaluation
from finefuse.tasks import Classification, Regression
from finefuse.types import Budget, Data, Fusing, Member, Recipe, Ref, Scheme, Splits, Task, Tuning
from finefuse.types.data import Unlabelled
from finefuse.types.undeclared import undeclared

POINTS = Classification(3, "tabular", (4,))
IMAGES = Classification(3, "image", (1, 8, 8))
LINE = Regression(1, "tabular", (4,))
TASKS: tuple[Task, ...] = (POINTS, IMAGES, LINE)


def small_data(task: Task = POINTS, n: int = 60, seed: int = 0) -> Data:
    """The task's own examples: of classes, inputs around a centre each; of values, targets linear in the inputs."""
    return task.example(n, seed)


def small_splits(task: Task = POINTS) -> Splits:
    """60 examples to train on, 45 for val, 90 for test."""
    return Splits(task, small_data(task, 60, 1), small_data(task, 45, 2), small_data(task, 90, 3))


def small_net(task: Task = POINTS, seed: int = 0, outputs: int | None = None) -> Net:
    """Images: two convolutional stages with BatchNorm that has seen data; else three stages, one with dropout."""
    outputs = task.outputs if outputs is None else outputs
    with seeded(seed):
        if task.modality != "image":
            return _mlp(task.input_shape[0], outputs)
        stages = [
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(
                nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            ),
        ]
        net = Net(stages, nn.Linear(6, outputs), Recipe("sgd", lr=0.05))
        with torch.no_grad():
            net.train()(torch.randn(32, 1, 8, 8) * 2 + 1)
        return net.eval()


def _mlp(inputs: int, outputs: int) -> Net:
    stages = [
        nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.ReLU()),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.1)),
        nn.Sequential(nn.Linear(8, 6), nn.Tanh()),
    ]
    return Net(stages, nn.Linear(6, outputs), Recipe("sgd", lr=0.05, weight_decay=0.0))


def small_trainer(task: Task = POINTS, train: Data | None = None, epochs: int = 4, seed: int = 7) -> SuiteTrainer:
    """Batches of 16."""
    return SuiteTrainer(task, train or small_data(task, 60, 1), Budget(epochs, 16), seed=seed)


def small_tuning(task: Task = POINTS, epochs: int = 4, seed: int = 7) -> Tuning:
    """All that a scheme may use, with a source head of five classes and source data of another seed."""
    splits = small_splits(task)
    return Tuning(
        task,
        small_net(task),
        small_net(task, outputs=5),
        small_trainer(task, splits.train, epochs, seed),
        splits.train,
        splits.val,
        torch.Generator().manual_seed(seed),
        lambda spec: Registry().build("scheme", Ref.read(spec)),
        *((small_data(task.resized(5), 100, 4), task.resized(5)) if task.classes else ()),
    )


def prepared(scheme: Scheme, task: Task = POINTS, epochs: int = 4) -> Tuning:
    """`small_tuning` with the modules in place that the scheme adds to the network, if any."""
    on = small_tuning(task, epochs)
    prepare_for(scheme, on.model)
    return on


def prepare_for(scheme: Scheme, net: Net) -> Net:
    """The network, with the modules in place that the scheme adds, if any."""
    if adding := capabilities.prepares(scheme):
        with seeded(0):
            adding.prepare(net)
    return net


def small_members(task: Task = POINTS, count: int = 3) -> list[Net]:
    """Networks trained from one start in different orders."""
    return [copy.deepcopy(_member(task, seed)) for seed in range(count)]


@cache
def _member(task: Task, seed: int) -> Net:
    net = small_net(task)
    small_trainer(task, seed=seed).fit(net, [{"params": net.parameters()}])
    return net.eval()


def small_fusing(
    nets: Iterable[Net],
    task: Task = POINTS,
    needs: Collection[str] = ("val", "train", "base", "trainer", "test inputs"),
    *,
    labels: bool = True,
) -> Fusing:
    """What a fusion gets to see that declares these needs; without `labels` where it says that it uses none."""
    splits = small_splits(task)
    val, train = (data if labels else Unlabelled(data) for data in (splits.val, splits.train))
    given: dict[str, Any] = {"val": val, "train": train, "test_inputs": splits.test.x}
    given = {name: one for name, one in given.items() if name.replace("_", " ") in needs}

    def member(name: str, net: Net) -> Member:
        outputs, score = undeclared("val_outputs", "val", of="member"), float("nan")
        if "val" in needs:
            outputs = outputs_of(net, splits.val.x)
            score = task.quality(outputs, splits.val) if labels else score
        return Member(name, score, outputs, lambda: net, task, **given)

    made: dict[str, Any] = {"base": small_net(task)} if "base" in needs else {}
    made |= {"trainer": small_trainer(task, splits.train)} if "trainer" in needs else {}
    members = [member(f"m{i}", net) for i, net in enumerate(nets)]
    return Fusing(task, members, torch.Generator().manual_seed(0), **given, **made)


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """Outputs in evaluation mode, without gradients."""
    with evaluation(model):
        return model(x)  # type: ignore[no-any-return]


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return copy.deepcopy(dict(net.state_dict()))


def changed(before: Mapping[str, Tensor], net: nn.Module) -> set[str]:
    """Names of parameters and buffers that differ from a snapshot in any bit."""
    return {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
