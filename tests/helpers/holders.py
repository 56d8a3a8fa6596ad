"""Pools of plain tensors for fusions of weights, without networks around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finefuse import Classification
from finefuse.types import Data, Fusing, Member

TASK = Classification(3, "tabular", (4,))
SHAPES = {"a": (8, 11), "b": (5, 3, 3, 3), "c": (7,)}


def stored_in(file: Path) -> Callable[[str], dict[str, Tensor]]:
    """The tensors under a name in a file of an oracle, by their own names."""
    arrays = np.load(file)

    def stored(name: str) -> dict[str, Tensor]:
        return {key.split("/")[1]: torch.from_numpy(arrays[key]) for key in arrays.files if key.split("/")[0] == name}

    return stored


def holder(state: dict[str, Tensor]) -> nn.Module:
    """A module with these parameters and no other use."""
    module = nn.Module()
    for name, tensor in state.items():
        module.register_parameter(name, nn.Parameter(tensor.clone()))
    return module


def fused(fusion: Any, base: dict[str, Tensor], members: list[dict[str, Tensor]], seed: int = 0) -> dict[str, Tensor]:
    """What a fusion makes of members that are plain tensors."""
    pool = [Member(f"m{i}", 0.5, torch.empty(0), lambda m=m: holder(m), TASK) for i, m in enumerate(members)]
    train = Data(torch.empty(0, 4), torch.empty(0, dtype=torch.long))
    rng = torch.Generator().manual_seed(seed)
    given = {"base": holder(base)} if base else {}
    net = fusion.fuse(Fusing(TASK, pool, rng, train=train, **given))
    return {name: p.detach() for name, p in net.named_parameters()}


def random_pool(seed: int, count: int = 4) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """A base and members near it."""
    rng = torch.Generator().manual_seed(seed)
    draws = [{n: torch.randn(shape, generator=rng) for n, shape in SHAPES.items()} for _ in range(count + 1)]
    return draws[0], [{n: draws[0][n] + 0.1 * one[n] for n in one} for one in draws[1:]]
