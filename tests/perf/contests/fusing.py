"""Fusing on the output level, from outputs at hand, and averaging weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from torch import Tensor

from contests import Contest
from finefuse import Classification, nets
from finefuse.types import Data, Fusing, Fusion, Member
from finefuse_zoo.fusions.mean_probs import MeanProbs
from finefuse_zoo.fusions.stacking import Stacking
from finefuse_zoo.fusions.vote import Vote

MEMBERS, EXAMPLES, CLASSES = 24, 10_000, 10
TASK = Classification(CLASSES, "image", (1, 8, 8))
State = dict[str, Tensor]


@cache
def outputs() -> tuple[Tensor, Tensor]:
    """Logits (members, N, classes) of members that share some of their mistakes, and the labels (N,)."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (EXAMPLES,), generator=rng)
    common = 3 * torch.nn.functional.one_hot(y, CLASSES) + torch.randn(EXAMPLES, CLASSES, generator=rng)
    return common + 1.5 * torch.randn(MEMBERS, EXAMPLES, CLASSES, generator=rng), y


def _unused() -> nets.Net:
    raise AssertionError("scoring an ensemble must not load networks")


def fused(fusion: Fusion, val: int) -> nets.CombineOutputs:
    """The ensemble, fitted on the first `val` examples where it is fitted."""
    z, y = outputs()
    members = [Member(f"m{i}", 0.9, z[i, :val], _unused) for i in range(MEMBERS)]
    ensemble = fusion.fuse(Fusing(TASK, members, torch.Generator(), Data(torch.zeros(val, 1), y[:val])))
    assert isinstance(ensemble, nets.CombineOutputs)
    return ensemble


def scoring() -> Contest:
    """24 members, 10,000 examples, 10 classes."""
    z, _ = outputs()
    probabilities = z.softmax(-1)

    def score(fusion: Fusion, val: int = 1) -> Callable[[Tensor], Tensor]:
        return lambda z: fused(fusion, val).combine(z)

    return Contest(
        lambda: z,
        {
            "mean-probs": score(MeanProbs()),
            "softmax": lambda z: z.softmax(-1),
            "mean of probabilities": lambda _: nets.log_probs(probabilities.mean(0)),
            "vote": score(Vote()),
            "stacking, fitted on 1,000": score(Stacking(), 1_000),
            "stacking, fitted on 10,000": score(Stacking(), EXAMPLES),
        },
    )


@cache
def resnet50s(count: int = 5) -> list[State]:
    """State dicts of torchvision's ResNet-50 with random weights."""
    import torchvision

    torch.manual_seed(0)
    return [dict(torchvision.models.resnet50().state_dict()) for _ in range(count)]


def _in_float32(states: list[State]) -> State:
    """What is usually written: it does not give equal members back."""
    return {name: sum(s[name] / len(states) for s in states) for name in states[0]}  # type: ignore[misc]


def averaging() -> Contest:
    """The mean of five ResNet-50s."""
    states = resnet50s()
    return Contest(
        lambda: states,
        {"finefuse": lambda states: nets.average(states, [1 / len(states)] * len(states)), "float32": _in_float32},
    )


def extra_copies() -> float:
    """Memory that averaging takes beyond the members', in sizes of one member; needs Linux and a process of its own."""
    states = resnet50s()
    size = sum(tensor.nbytes for tensor in states[0].values())
    nets.average([{"warm-up": torch.zeros(1)}], [1.0])
    before = _memory("VmRSS")
    nets.average(states, [1 / len(states)] * len(states))
    return (_memory("VmHWM") - before) / size


def _memory(field: str) -> int:
    """Bytes, as Linux counts them: now, or at the most so far."""
    return next(1024 * int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(field))


if __name__ == "__main__":
    print(extra_copies())
