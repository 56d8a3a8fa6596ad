"""Training loops as people write them: plain torch, nothing of finefuse but the networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Any) -> torch.optim.Optimizer:
    """SGD with Nesterov's momentum or AdamW, as the network's recipe says."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
        )
    return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


def batches(n: int, steps: int, batch_size: int, seed: int) -> list[Tensor]:
    """Row numbers of `steps` batches, epoch after epoch without a gap."""
    rng = torch.Generator().manual_seed(seed)
    epochs = math.ceil(steps * batch_size / n)
    order = torch.cat([torch.randperm(n, generator=rng) for _ in range(epochs)])
    return list(order[: steps * batch_size].split(batch_size))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, order: Sequence[Tensor]) -> None:
    """Cross-entropy, and a rate that falls along half a cosine to 0."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for step, rows in enumerate(order):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / len(order)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()


def freeze_all_but(net: nn.Module, parts: Sequence[nn.Module]) -> list[nn.Parameter]:
    """No gradients and evaluation mode outside `parts`; returns their parameters."""
    net.requires_grad_(False).eval()
    for part in parts:
        part.requires_grad_(True).train()
    return [p for part in parts for p in part.parameters()]
