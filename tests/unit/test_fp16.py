"""Float16: losses are scaled, and a step whose gradients overflow changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finefuse.engine.train import trainer as training
from finefuse.engine.train.scale import LossScale
from finefuse.testing.small import IMAGES, small_data, small_net
from finefuse.types import Budget
from helpers.pretending import pretended_gpu

HUGE = 1e35
"""A gradient that is finite itself, but not when it is scaled by more than 2048."""


def fitted(lab: Any, **options: Any) -> tuple[nn.Module, Any]:
    net = lab.cnn()
    trainer = lab.trainer(lab.IMAGES, **options)
    trainer.fit(net, [{"params": net.parameters()}])
    return net, trainer


def test_float16_trains_alike_in_its_own_precision(lab: Any) -> None:
    seen = []
    net = lab.cnn()
    net.stages[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    trainer = lab.trainer(lab.IMAGES, precision="fp16")
    trainer.fit(net, [{"params": net.parameters()}])
    assert torch.float16 in seen
    exact = fitted(lab)[0].head.weight
    assert net.head.weight.dtype == torch.float32
    assert not torch.equal(exact, net.head.weight)
    assert torch.allclose(exact, net.head.weight, atol=0.1)
    assert trainer.scale.skipped == 0


class TwoGradients(torch.optim.SGD):
    """Climbs before it steps."""

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        closure()
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(1.0)
        return super().step(closure)


KINDS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "fused sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "fused adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "two gradients": lambda p: TwoGradients(p, lr=0.1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_overflows_changes_nothing_and_the_next_are_as_ever(kind: str) -> None:
    weight, plain = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    optimizer, usual, scale = KINDS[kind]([weight]), KINDS[kind]([plain]), LossScale(weight.device)

    def closure_of(p: nn.Parameter, factor: float, scale: LossScale | None = None) -> Callable[[], Any]:
        of = usual if scale is None else optimizer

        def closure() -> Tensor:
            of.zero_grad()
            loss = (p * p).sum() * factor
            (loss if scale is None else scale.of(loss)).backward()  # type: ignore[no-untyped-call]
            if scale is not None:
                scale.unscale(of)
            return loss

        return closure

    for n in range(1, 6):
        scale.step(optimizer, closure_of(weight, HUGE, scale))
        assert weight.tolist() == [1.0, -2.0]
        assert scale.skipped == n
    for _ in range(3):
        scale.step(optimizer, closure_of(weight, 0.25, scale))
        usual.step(closure_of(plain, 0.25))
    assert torch.equal(weight, plain)
    assert scale.skipped == 5


def test_what_overflows_at_every_scale_is_divergence(lab: Any) -> None:
    net = lab.cnn()

    def penalty(model: nn.Module, _: Any) -> Tensor:
        return model.head.weight.square().sum() * float("inf")  # type: ignore[no-any-return]

    trainer = training.SuiteTrainer(lab.IMAGES, lab.data(lab.IMAGES), Budget(1, 16, steps=20), seed=0, precision="fp16")
    with pytest.raises(FloatingPointError, match="diverged: 20 steps overflowed float16"):
        trainer.fit(net, [{"params": net.parameters()}], penalty=penalty)


def test_scaling_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "mixed_precision", lambda *_: nullcontext())  # torch has none without a real GPU
    waits = []
    with pretended_gpu() as gpu:
        net = small_net(IMAGES).to("cuda:0")
        data = small_data(IMAGES).to("cuda:0")
        trainer = training.SuiteTrainer(IMAGES, data, Budget(1, 16, steps=4), seed=0, precision="fp16")

        def count(
            _: object,
        ) -> None:  # fused optimizers ask torch where weights are, and move a number there
            waits.append(gpu.waits.total() - sum(n for (why, _), n in gpu.waits.items() if why == "moved to the host"))

        trainer.fit(net, [{"params": net.parameters()}], after_step=count)
        assert trainer.scale is not None
        assert trainer.scale.skipped == 0
    assert waits[1:] == [waits[0]] * 3, gpu.waits


@pytest.mark.slow
def test_a_row_says_how_many_steps_were_skipped(workshop: Callable[..., Any]) -> None:
    for precision, told in (("fp16", True), ("fp32", False)):
        rows = workshop(schemes=["full"], fusions=[], pools={}, latency=[], precision=precision).run("tune")
        assert [row["status"] for row in rows] == ["ok"] * len(rows)
        assert ["skipped_steps" in row for row in rows] == [told] * len(rows)
        assert all(row["skipped_steps"] == 0 for row in rows if told)
