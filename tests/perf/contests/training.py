"""The engine's trainer and schemes against plain loops, on the job of `quick` and on ResNet-18 at 64 pixels."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from contests import Contest, loops
from finefuse import Classification
from finefuse.engine.randomness import seeded
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net
from finefuse.testing import small_tuning
from finefuse.types import Budget, Data, Recipe, Splits, Tuning
from finefuse_zoo.backbones.cnn import CnnS
from finefuse_zoo.backbones.vit import VitT
from finefuse_zoo.datasets.digits import Digits
from finefuse_zoo.linear import fit_linear
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.head_sgd import HeadSgd
from finefuse_zoo.schemes.linear_probe import LinearProbe

SEED = 3
ANY_TUNING = small_tuning()
BACKBONES = {"cnn-s": CnnS(), "vit-t": VitT()}
Freezing = Literal["usual", "careful"]


@cache
def digits() -> Splits:
    """100 labels."""
    return Digits(shots=10).splits(0)


@cache
def photos() -> Splits:
    """128 noise images of 64x64 in ten classes: what they show makes no difference to the time."""
    rng = torch.Generator().manual_seed(0)
    data = Data(torch.randn(128, 3, 64, 64, generator=rng), torch.arange(128) % 10)
    return Splits(Classification(10, "image", (3, 64, 64)), data, data, data)


@cache
def small(backbone: str) -> Net:
    """A network of the zoo with random weights."""
    with seeded(0):
        return BACKBONES[backbone].build(digits().task)


@cache
def resnet18() -> Net:
    """torchvision's, in stages, with random weights."""
    import torchvision

    with seeded(0):
        net = torchvision.models.resnet18(num_classes=10)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    last = nn.Sequential(net.layer4, net.avgpool, nn.Flatten())
    return Net([stem, net.layer1, net.layer2, net.layer3, last], net.fc, Recipe("sgd", lr=0.01))


def tuning(net: Net, splits: Splits, budget: Budget) -> Tuning:
    """What the engine hands to a scheme."""
    trainer = SuiteTrainer(splits.task, splits.train, budget, seed=SEED)
    return replace(
        ANY_TUNING, task=splits.task, model=net, pretrained=net, trainer=trainer, train=splits.train, val=splits.val
    )


def with_inputs(splits: Splits, x: Tensor) -> Splits:
    """The same task with other training inputs."""
    return replace(splits, train=Data(x, splits.train.y))


def parts_of(net: Net, stages: int) -> list[nn.Module]:
    """The last `stages` stages and the head."""
    return [*net.stages[len(net.stages) - stages :], net.head]


def plain(splits: Splits, budget: Budget, stages: int, freezing: Freezing) -> Callable[[Net], None]:
    """A loop that trains the last stages and the head and evaluates the whole network in every step.

    "usual": only those parameters are in the optimizer, gradients are computed for all. "careful": the rest has
    `requires_grad=False`, so that nothing is differentiated that need not be.
    """

    def loop(net: Net) -> None:
        parts = parts_of(net, stages)
        tuned = loops.freeze_all_but(net, parts)
        if freezing == "usual":
            net.requires_grad_(True)
        x, y = splits.train.x, splits.train.y
        steps = math.ceil(budget.epochs * len(y) / budget.batch_size)
        order = loops.batches(len(y), steps, budget.batch_size, SEED)
        loops.train(net, loops.make_optimizer(tuned, net.recipe), x, y, order)

    return loop


def full_fine_tuning(backbone: str, epochs: int = 30) -> Contest:
    """Both leave the same bits in the network."""
    splits, net, budget = digits(), small(backbone), Budget(epochs, 32)
    return Contest(
        lambda: copy.deepcopy(net),
        {
            "finefuse": lambda net: Full().tune(tuning(net, splits, budget)),
            "bare loop": plain(splits, budget, len(net.stages), "careful"),
        },
    )


def linear_probe(epochs: int = 10) -> Contest:
    """Ten epochs of a frozen ResNet-18, against one pass and a convex problem."""
    splits, net, budget = photos(), resnet18(), Budget(epochs, 32)
    features = tuning(net, splits, budget).trainer.features(net, splits.train.x)
    return Contest(
        lambda: copy.deepcopy(net),
        {
            "finefuse": lambda net: LinearProbe().tune(tuning(net, splits, budget)),
            "finefuse, features given": lambda _: fit_linear(features, splits.train.y, 10, C=1.0),
            "usual frozen loop": plain(splits, budget, 0, "usual"),
            "careful frozen loop": plain(splits, budget, 0, "careful"),
        },
    )


def frozen_prefix(stages: int, *, large: bool = False, epochs: int = 30) -> Contest:
    """Train the last stages and the head, or the head alone: digits and cnn-s, or noise and ResNet-18."""
    splits, net = (photos(), resnet18()) if large else (digits(), small("cnn-s"))
    budget = Budget(epochs, 32)

    def cached(net: Net) -> None:
        on = tuning(net, splits, budget)
        if stages:
            parameters = [p for part in parts_of(net, stages) for p in part.parameters()]
            on.trainer.fit(net, [{"params": parameters, "lr": net.recipe.lr}])
        else:
            HeadSgd(net.recipe.lr, "sgd").tune(on)

    ways: dict[str, Callable[[Net], Any]] = {
        "finefuse": cached,
        "careful frozen loop": plain(splits, budget, stages, "careful"),
        "usual frozen loop": plain(splits, budget, stages, "usual"),
    }
    if not stages:
        features = tuning(net, splits, budget).trainer.features(net, splits.train.x)
        ways["loop over features"] = lambda net: plain(with_inputs(splits, features), budget, 0, "careful")(
            Net([], net.head)
        )
    return Contest(lambda: copy.deepcopy(net), ways)
