"""What AdaMerging minimises: the entropy of predictions on inputs whose labels aren't known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from finefuse import nets
from finefuse.types import Fusing
from finefuse_zoo.fusions._curvature import called_with
from finefuse_zoo.fusions._layer_statistics import normalised_by_the_batch
from finefuse_zoo.fusions._task_vectors import one_of_each_task

if TYPE_CHECKING:
    from torch import Tensor


def learned_shares(
    of: Fusing, states: Sequence[nets.State], copies: list[nets.Net], start: float, lr: float, steps: int | None
) -> dict[str, Tensor]:
    """One lambda per tensor and state, (states,), by the tensor's name, that give predictions the least entropy.

    `copies` are networks for each task. `steps` of Adam at `lr`; None uses the whole budget.
    """
    base, tasks = nets.base_state(of), one_of_each_task(of.members)
    names = [name for name, _ in of.members[0].net.named_parameters() if name in base]
    changes = [torch.stack([state[name] - base[name] for state in states]) for name in names]
    lambdas = torch.full((len(names), len(states)), start, device=changes[0].device, requires_grad=True)
    adam = torch.optim.Adam([lambdas], lr=lr)
    with ExitStack() as kept:
        for net in copies:
            kept.enter_context(normalised_by_the_batch(net))
        for _ in range(of.trainer.budget if steps is None else steps):
            moves = [torch.tensordot(w, change, 1) for w, change in zip(lambdas, changes, strict=True)]
            params = {name: base[name] + move for name, move in zip(names, moves, strict=True)}
            pairs = zip(copies, tasks, strict=True)
            entropies = [_entropy(of, net, params, member.test_inputs) for net, member in pairs]
            adam.zero_grad()
            torch.stack(entropies).sum().backward()  # type: ignore[no-untyped-call]
            adam.step()
    return dict(zip(names, lambdas.detach(), strict=True))


def _entropy(of: Fusing, net: nets.Net, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The mean entropy of the answers to one batch of a task's inputs; what is not merged is the network's own."""
    rows = nets.uploaded(torch.randperm(len(x), generator=of.rng)[: of.trainer.batch_size], x.device)
    own = {name: p.detach() for name, p in net.named_parameters()}
    logp = called_with(net, {**own, **params}, x[rows].to(net.head.weight.device)).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1).mean()
