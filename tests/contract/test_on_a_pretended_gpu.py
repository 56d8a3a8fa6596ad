"""Every built-in strategy on a pretended GPU: what lies where, how often the host waits, how much it launches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from finefuse import NotApplicable, Ref
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.train.lent import lent
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.testing.small import (
    IMAGES,
    POINTS,
    prepared,
    small_fusing,
    small_members,
    small_net,
    small_splits,
)
from finefuse.types import Budget, Data, Fusing, PluginKind, Recipe, Task
from finefuse.types.data import Unlabelled
from finefuse_zoo.fusions import _curvature
from finefuse_zoo.fusions._curvature import fisher
from helpers.pretending import GPU, PretendedGpu, pretended_gpu

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
PARAMETERS: dict[str, dict[str, Any]] = {
    "chain": {"of": ["linear-probe", "full"], "plus": ["l2-sp"]},
    "frozen-head": {"of": "full"},
    "fed-avg": {"exchanges": 1},
    "gate": {"steps": 20},
}
ELSEWHERE = {"search", "from-file", "text-head", "as-is", "mean"}
"""What needs trials, files, a tower for text or a source head of the task's size, or is for regression alone."""
STEPS = 4


STEP = {
    "auto-rgn": (0, 64), "bitfit": (0, 26), "bss": (1, 41), "chain": (0, 111), "co-tuning": (0, 46), "delta": (0, 65),
    "discriminative": (0, 30), "dora": (0, 76), "elastic": (0, 77), "ema": (0, 35), "feature-map": (0, 65),
    "feature-tune": (0, 25), "frozen-head": (0, 26), "full": (0, 28), "gradual-unfreeze": (0, 30), "head-sgd": (0, 12),
    "hira": (0, 42), "ia3": (0, 36), "l1": (0, 52), "l1-sp": (0, 111), "l2": (0, 53), "l2-sp": (0, 110),
    "layer-decay": (0, 33), "loha": (0, 58), "lokr": (0, 52), "lora": (0, 40), "lora-plus": (0, 41), "lp-ft": (0, 28),
    "lwf": (0, 49), "mean-teacher": (0, 59), "miss": (0, 34), "mixout": (0, 42), "norm-tune": (0, 25),
    "rslora": (0, 40), "sam": (0, 97), "scratch": (0, 28), "selective": (0, 30), "shira": (0, 29),
    "side-tune": (0, 47), "source-replay": (0, 63), "stochnorm": (0, 50), "two-rate": (0, 29), "vera": (0, 67),
}  # fmt: skip
"""How often the host waits for the device in a step of a scheme, and the kernels that the step launches."""
WITHOUT_STEPS = {
    "h-score": (6, 52), "leep": (6, 50), "linear-probe": (29, 298), "logme": (9, 551), "nce": (8, 52),
    "transrate": (18, 108), "zero-step": (3, 24),
}  # fmt: skip
"""The same of a scheme that takes no steps, in all."""
FUSION = {
    "adamerging": (20, 844), "arcee-fusion": (6, 632), "breadcrumbs": (196, 832), "calibrated-mean": (31, 1004),
    "concat-features": (53, 563), "consensus": (6, 202), "dare": (16, 142), "della": (36, 602), "distill": (8, 567),
    "expo": (6, 82), "fed-avg": (78, 779), "fisher": (6, 1312), "gate": (1, 725), "git-rebasin": (129, 347),
    "greedy-ensemble": (102, 1104), "greedy-soup": (10, 112), "iso-c": (9, 168), "iso-cts": (18, 363),
    "joint-training": (8, 343), "karcher": (15, 115), "knora": (0, 6), "magmax": (6, 162), "max": (0, 0),
    "mean-features": (1, 305), "mean-logits": (0, 0), "mean-probs": (0, 0), "median": (0, 0), "min": (0, 0),
    "model-stock": (16, 232), "multislerp": (15, 115), "nuslerp": (6, 712), "own-members": (0, 0), "pcb": (6, 212),
    "probe-heads": (60, 624), "product": (0, 0), "recalibrate": (2, 54), "regmean": (9, 264), "repair": (5, 359),
    "sce": (19, 548), "slerp": (25, 143), "snapshot": (26, 427), "soup": (5, 57), "splice": (13, 106),
    "stacking": (41, 415), "svc": (5, 288), "swa": (10, 425), "task-arithmetic": (6, 72), "task-gate": (0, 0),
    "ties": (106, 592), "tsv-m": (21, 411), "vote": (0, 0), "weighted": (0, 0), "weighted-soup": (5, 57),
    "wise-ft": (6, 72), "wudi": (6, 9219),
}  # fmt: skip
"""The same of a fusion of three small networks, in all."""
MORE = 1.1
"""Another version of torch may launch a few more kernels for the same."""


def names(kind: PluginKind) -> list[str]:
    return [one.entry.name for one in REGISTRY.entries(kind) if not one.missing and one.entry.name not in ELSEWHERE]


def built(kind: PluginKind, name: str) -> Any:
    return REGISTRY.build(kind, Ref.of(name, **PARAMETERS.get(name, {})))


def placed(data: Data, *, on_host: bool) -> Data:
    """Targets are on the device; inputs may be too large for it."""
    return Data(data.x if on_host else data.x.to(GPU), data.y.to(GPU))


class Counted:
    """Kernels and waits, at every step of an optimizer."""

    def __init__(self, gpu: PretendedGpu) -> None:
        self._gpu = gpu
        self.at_steps: list[tuple[int, int]] = []
        self.in_all = (0, 0)

    def now(self) -> tuple[int, int]:
        return self._gpu.waits.total(), self._gpu.operations.total()

    @contextmanager
    def watching(self) -> Iterator[None]:
        hook = register_optimizer_step_post_hook(lambda *_: self.at_steps.append(self.now()))
        try:
            yield
        finally:
            hook.remove()

    def last_step(self) -> tuple[int, int]:
        """Of the last step, from one update of the weights to the next."""
        return difference(*self.at_steps[-2:])


def difference(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]


def tuned(name: str, gpu: PretendedGpu, *, on_host: bool) -> tuple[Counted, Tensor]:
    """Tune on the first small task that the scheme is for; what was counted, and the outputs that come of it."""
    scheme, counted = built("scheme", name), Counted(gpu)
    for task in (IMAGES, POINTS):
        on = prepared(scheme, task)
        for net in (on.model, on.pretrained):
            net.to(GPU)
        parts = {part: placed(getattr(on, part), on_host=on_host) for part in ("train", "val", "source")}
        trainer = SuiteTrainer(task, parts["train"], Budget(1, 16, steps=STEPS), seed=7)
        before = counted.now()
        try:
            with counted.watching():
                scheme.tune(replace(on, **parts, trainer=lent(trainer)))
        except NotApplicable:
            continue
        counted.in_all = difference(before, counted.now())
        return counted, trainer.outputs(on.model, placed(small_splits(task).test, on_host=on_host).x)
    raise AssertionError(f"{name} is for none of the small tasks")


def fused(name: str, gpu: PretendedGpu, *, on_host: bool) -> tuple[tuple[int, int], Tensor]:
    """The same of a fusion of three networks."""
    fusion = built("fusion", name)
    for task in (IMAGES, POINTS):
        of, trainer = given(fusion, task, on_host=on_host)
        before = Counted(gpu).now()
        try:
            model = fusion.fuse(of).eval()
        except NotApplicable:
            continue
        return difference(before, Counted(gpu).now()), trainer.outputs(model, small_splits(task).test.x)
    raise AssertionError(f"{name} is for none of the small tasks")


def given(fusion: Any, task: Task, *, on_host: bool) -> tuple[Fusing, SuiteTrainer]:
    """What a fusion gets to see, all on the device but perhaps the inputs; and the trainer behind it."""
    labels, splits = capabilities.uses_labels(fusion), small_splits(task)
    of = small_fusing(small_members(task), task, fusion.needs, labels=labels)
    train, val = (placed(data, on_host=on_host) for data in (splits.train, splits.val))
    trainer = SuiteTrainer(task, train, Budget(1, 16, steps=9), seed=7)
    all_data = {"train": train, "val": val, "test inputs": splits.test.x if on_host else splits.test.x.to(GPU)}
    if not labels:
        all_data |= {"train": Unlabelled(train), "val": Unlabelled(val)}
    data: dict[str, Any] = {n.replace(" ", "_"): part for n, part in all_data.items() if n in fusion.needs}
    members = []
    for member in of.members:
        member.net.to(GPU)
        outputs = {"val_outputs": member.val_outputs.to(GPU)} if "val" in fusion.needs else {}
        members.append(replace(member, **data, **outputs))
    made: dict[str, Any] = {"base": small_net(task).to(GPU)} if "base" in fusion.needs else {}
    made |= {"trainer": lent(trainer, labels=labels)} if "trainer" in fusion.needs else {}
    return replace(of, members=members, **data, **made), trainer


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with pretended_gpu() as gpu:
        yield gpu


# ------------------------------------------------------------------------------------------------ the device itself


def test_operands_lie_together_as_on_a_real_one(gpu: PretendedGpu) -> None:
    x = torch.arange(3.0, device=GPU)
    assert (x.device, x.is_cuda, (x + 1).device, x.cpu().device.type) == (GPU, True, GPU, "cpu")
    assert torch.nn.functional.one_hot(x.long(), 3).device == GPU
    assert (x * torch.tensor(2.0)).device == GPU
    for wrong in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(1)])):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            wrong()
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, device=GPU, generator=torch.Generator())


def test_what_makes_the_host_wait_is_noticed(gpu: PretendedGpu) -> None:
    x = torch.arange(3.0, device=GPU)
    before = gpu.waits.total()
    x.add_(x).sum().view(-1)
    torch.ones(3).pin_memory().to(GPU, non_blocking=True)
    assert gpu.waits.total() == before
    for waiting in (x.sum().item, x.cpu, lambda: x[x > 1], lambda: torch.ones(3).to(GPU), lambda: bool(x.any())):
        waiting()
        assert gpu.waits.total() == before + 1
        before = gpu.waits.total()


# ------------------------------------------------------------------------------------------------ strategies


def within(counted: tuple[int, int], allowed: tuple[int, int]) -> bool:
    return counted[0] <= allowed[0] and counted[1] <= MORE * allowed[1]


def test_every_strategy_has_its_line_in_a_table() -> None:
    assert sorted({*STEP, *WITHOUT_STEPS}) == sorted(names("scheme"))
    assert sorted(FUSION) == sorted(names("fusion"))


@pytest.mark.parametrize("name", sorted({*STEP, *WITHOUT_STEPS}))
def test_a_scheme_waits_and_launches_no_more_than_it_did(name: str, gpu: PretendedGpu) -> None:
    counted, _ = tuned(name, gpu, on_host=False)
    found, allowed = (counted.last_step(), STEP[name]) if name in STEP else (counted.in_all, WITHOUT_STEPS[name])
    assert within(found, allowed), gpu.waits
    assert not gpu.unsure


@pytest.mark.parametrize("name", sorted(FUSION))
def test_a_fusion_waits_and_launches_no_more_than_it_did(name: str, gpu: PretendedGpu) -> None:
    found, _ = fused(name, gpu, on_host=False)
    assert within(found, FUSION[name]), gpu.waits
    assert not gpu.unsure


FEW = {"full", "head-sgd", "linear-probe", "source-replay"}, {"adamerging", "fisher", "gate", "repair"}


def all_of(few: set[str], kind: PluginKind) -> list[Any]:
    return [pytest.param(name, marks=() if name in few else pytest.mark.slow) for name in names(kind)]


@pytest.mark.parametrize("name", all_of(FEW[0], "scheme"))
def test_inputs_in_the_memory_of_the_host_give_a_scheme_the_same_bits(name: str, gpu: PretendedGpu) -> None:
    assert torch.equal(*(tuned(name, gpu, on_host=on_host)[1] for on_host in (False, True)))


@pytest.mark.parametrize("name", all_of(FEW[1], "fusion"))
def test_inputs_in_the_memory_of_the_host_give_a_fusion_the_same_bits(name: str, gpu: PretendedGpu) -> None:
    assert torch.equal(*(fused(name, gpu, on_host=on_host)[1] for on_host in (False, True)))


@pytest.mark.parametrize("name", ["full", "stochnorm"])
def test_inputs_in_the_memory_of_the_host_are_not_waited_for(name: str, gpu: PretendedGpu) -> None:
    assert tuned(name, gpu, on_host=True)[0].last_step()[0] == 0


def test_the_step_of_l1_is_not_waited_for_under_adam_either(gpu: PretendedGpu) -> None:
    counted, on = Counted(gpu), prepared(built("scheme", "l1"), IMAGES)
    on.model.to(GPU).recipe = Recipe("adam", lr=0.01)
    trainer = SuiteTrainer(IMAGES, on.train.to("cuda:0"), Budget(1, 16, steps=STEPS), seed=7)
    with counted.watching():
        built("scheme", "l1").tune(replace(on, trainer=lent(trainer)))
    assert counted.last_step()[0] == 0


def test_the_fisher_information_of_a_large_network_is_batched_on_a_gpu(
    gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_curvature, "LARGE", 1)  # so that a small network is a large one
    net, x = small_net(POINTS), small_splits(POINTS).train.x
    by_one = fisher(net, POINTS, x)
    before = gpu.operations.total()
    batched = fisher(copy.deepcopy(net).to(GPU), POINTS, x.to(GPU))
    assert gpu.operations.total() - before < 4 * len(x)  # one by one it would be hundreds for each example
    for name, one in batched.items():
        assert torch.allclose(one.cpu(), by_one[name], rtol=1e-4, atol=1e-7)
