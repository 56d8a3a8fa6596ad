"""Steps as CUDA graphs, on a pretended GPU: which may be, what is chosen, and that bits don't depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finefuse.engine.train import captured
from finefuse.engine.train.captured import FEWEST, MODE, TRIED, WARM, Captures
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net
from finefuse.testing.small import IMAGES, small_data, small_net
from finefuse.types import Budget, Recipe
from helpers.pretended_graphs import PretendedGraphs
from helpers.pretending import PretendedGpu, pretended_gpu

STEPS = FEWEST + 4


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with pretended_gpu() as gpu:
        yield gpu


class Clock:
    """Time stands still but for what a step takes, whichever way."""

    def __init__(self, graphs: PretendedGraphs, monkeypatch: pytest.MonkeyPatch, *, eager: float) -> None:
        self._graphs, self._eager, self._now, self._seen = graphs, eager, 0.0, 0
        monkeypatch.setattr(captured, "perf_counter", self)

    def __call__(self) -> float:
        self._now += 1.0 if self._graphs.replays > self._seen else self._eager
        self._seen = self._graphs.replays
        return self._now


def network(recipe: Recipe) -> Net:
    net = small_net(IMAGES)
    net.stages.insert(1, nn.Dropout(0.3))
    net.recipe = recipe
    return net.to("cuda:0")


def trained(net: Net, graphs: Any, *, steps: int = STEPS, also: Any = None, **options: Any) -> SuiteTrainer:
    """Train it by graphs; with None each step eagerly, within the same mode."""
    data = small_data(IMAGES).to("cuda:0")
    trainer = SuiteTrainer(IMAGES, data, Budget(1, 16, steps=steps), seed=7, compile_mode=MODE, **options)
    trainer.captures = Captures(graphs)
    with trainer.effort.counting():
        trainer.fit(net, [{"params": net.parameters()}], **(also or {}))
    return trainer


class NoGraphs:
    """Refuses, as CUDA does for many reasons."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        step()
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def wait(self) -> None:
        """Nothing is ever outstanding."""


def state(net: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in net.state_dict().values()])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_replayed_steps_leave_the_bits_of_eager_ones(
    optimizer: Any, gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, graphs = Recipe(optimizer, lr=0.02), PretendedGraphs(gpu)
    Clock(graphs, monkeypatch, eager=3.0)
    one, other = network(recipe), network(recipe)
    replayed, eager = trained(one, graphs), trained(other, NoGraphs())
    assert replayed.captures is not None
    assert eager.captures is not None
    assert (replayed.captures.replayed, replayed.captures.reasons) == (STEPS - WARM - TRIED, {})
    assert graphs.replays == STEPS - WARM
    assert eager.captures.replayed == 0
    assert next(iter(eager.captures.reasons)).startswith("a step can't be captured: RuntimeError: CUDA error")
    assert torch.equal(state(one), state(other))
    assert replayed.spent == eager.spent == STEPS
    assert replayed.effort.gradients == eager.effort.gradients == STEPS


def test_what_is_no_faster_is_not_replayed(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = PretendedGraphs(gpu)
    Clock(graphs, monkeypatch, eager=0.5)
    one, other = network(Recipe("sgd", lr=0.02)), network(Recipe("sgd", lr=0.02))
    trainer = trained(one, graphs)
    trained(other, NoGraphs())
    assert trainer.captures is not None
    assert (trainer.captures.replayed, graphs.replays) == (0, TRIED)
    assert [*trainer.captures.reasons] == ["replaying is no faster"]
    assert torch.equal(state(one), state(other))


class Counting(nn.Module):
    """Does something else each time, which a graph can't know."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * (1 + self.count / 10)


def test_a_step_that_code_changes_each_time_is_noticed(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = PretendedGraphs(gpu)
    Clock(graphs, monkeypatch, eager=3.0)
    net = network(Recipe("sgd", lr=0.02))
    net.stages.insert(1, Counting())
    trainer = trained(net, graphs)
    assert trainer.captures is not None
    assert [*trainer.captures.reasons] == ["a replayed step leaves other bits"]
    assert (trainer.captures.replayed, graphs.replays) == (0, 1)


class Reading(nn.Module):
    """Reads a number from the device."""

    def forward(self, x: Tensor) -> Tensor:
        return x / float(x.detach().abs().max())


def test_a_step_that_waits_for_the_device_is_taken_eagerly(gpu: PretendedGpu) -> None:
    net = network(Recipe("sgd", lr=0.02))
    net.stages.insert(1, Reading())
    trainer = trained(net, PretendedGraphs(gpu))
    assert trainer.captures is not None
    assert trainer.captures.replayed == 0
    assert "can't be captured" in next(iter(trainer.captures.reasons))
    assert state(net).isfinite().all()


def hooked(net: Net) -> Net:
    net.stages[0].register_forward_pre_hook(lambda *_: None)
    return net


@pytest.mark.parametrize(
    ("also", "options", "why"),
    [
        ({"loss": lambda outputs, batch: nn.functional.cross_entropy(outputs, batch.y)}, {}, "its own loss"),
        ({"penalty": lambda model, batch: model.head.weight.sum()}, {}, "its own penalty"),
        ({"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1)}, {}, "its own optimizer"),
        ({}, {"accumulate": True}, "not with accumulate"),
        ({}, {"steps": FEWEST - 1}, "fewer than 20 steps"),
        ({"norm": "eval"}, {}, "hooks"),
    ],
)
def test_steps_that_may_not_be_replayed_are_taken_as_ever_and_say_why(
    also: Any, options: Any, why: str, gpu: PretendedGpu
) -> None:
    graphs, nets = PretendedGraphs(gpu), [network(Recipe("sgd", lr=0.02)) for _ in range(2)]
    nets = [hooked(net) for net in nets] if why == "hooks" else nets
    trainer = trained(nets[0], graphs, also=also, **options)
    assert trainer.captures is not None
    assert trainer.captures.replayed == graphs.replays == 0
    assert why in next(iter(trainer.captures.reasons))
    plain = SuiteTrainer(
        IMAGES, small_data(IMAGES).to("cuda:0"), Budget(1, 16, steps=options.pop("steps", STEPS)), seed=7, **options
    )
    plain.fit(nets[1], [{"params": nets[1].parameters()}], **also)
    assert torch.equal(*map(state, nets))


def test_on_a_processor_nothing_is_replayed() -> None:
    net = small_net(IMAGES)
    trainer = SuiteTrainer(IMAGES, small_data(IMAGES), Budget(1, 16, steps=STEPS), seed=7, compile_mode=MODE)
    trainer.fit(net, [{"params": net.parameters()}])
    assert trainer.captures is not None
    assert [*trainer.captures.reasons] == ["not with a processor"]


@pytest.mark.slow
def test_a_row_says_what_was_replayed(workshop: Callable[..., Any]) -> None:
    rows = workshop(schemes=["full"], fusions=[], pools={}, latency=[], compile=MODE).run("tune")
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    assert all((row["steps_replayed"], row["not_replayed"]) == (0, "not with a processor") for row in rows)
