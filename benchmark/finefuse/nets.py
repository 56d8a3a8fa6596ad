"""Building blocks for strategies: `Net`, `CombineOutputs`, and arithmetic on state dicts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finefuse.batchnorm import BatchNorm, norm_layers, recompute, statistics_kept
from finefuse.errors import NotApplicable, PluginError
from finefuse.manyheads import (
    ByTask,
    Inputs,
    ManyHeads,
    by_task,
    for_member,
    for_task,
    joint,
    mean_quality,
    share_a_task,
    shell,
    test_inputs,
    train_inputs,
)
from finefuse.network import Net
from finefuse.tasks.classification import log_probs
from finefuse.types import Fusing, Member, Recipe

__all__ = [
    "CHUNK",
    "BatchNorm",
    "ByTask",
    "CombineFeatures",
    "CombineOutputs",
    "Inputs",
    "ManyHeads",
    "Net",
    "Rule",
    "State",
    "average",
    "averaged",
    "base_state",
    "by_task",
    "evaluation",
    "for_member",
    "for_task",
    "in_chunks",
    "joint",
    "log_probs",
    "make_optimizer",
    "mean_quality",
    "merged",
    "norm_layers",
    "one_hot_votes",
    "own_names",
    "recalibrate",
    "share_a_task",
    "states_of",
    "statistics_kept",
    "test_inputs",
    "train_inputs",
    "uploaded",
    "weighted_sum",
]

State = Mapping[str, Tensor]
Rule = Callable[[str, list[Tensor]], Tensor]
"""What a merged parameter is: a function of its name and of the members' tensors."""
CHUNK = 512
"""Examples per forward pass in evaluation. Fixed, because another number may give other bits."""


class CombineOutputs(nn.Module):
    """An ensemble: `combine` maps the members' stacked outputs (members, N, outputs) to (N, outputs).

    Built from `Member`s it reads no weights until it is called, so that the core can score `combine` on cached outputs
    in milliseconds. Outputs are logits: their softmax is the ensemble's probability.
    """

    def __init__(self, members: Sequence[Member | nn.Module], combine: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.combine = combine
        self.members = tuple(members)
        self.nets: nn.ModuleList | None = None

    def materialise(self) -> nn.ModuleList:
        """The members as modules, read from the store on the first call."""
        if self.nets is None:
            nets = nn.ModuleList(m.net if isinstance(m, Member) else m for m in self.members)
            self.nets = nets.train(self.training)
        return self.nets

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs). Under mixed precision the members alone are computed in it."""
        outputs = torch.stack([net(x) for net in self.materialise()])
        if not torch.is_autocast_enabled(x.device.type):
            return self.combine(outputs)
        with torch.autocast(x.device.type, enabled=False):
            return self.combine(outputs.float())


class CombineFeatures(nn.Module):
    """A fusion of features: `combine` maps the members' features, a list of (N, width of m), to (N, outputs).

    Of the members only the stages are part of this module, because their heads are not used. A `combine` that is a
    module is part of it as well: what it has learned, or kept of the heads, is counted and saved.
    """

    def __init__(self, nets: Sequence[Net], combine: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(nn.Sequential(*net.stages) for net in nets)
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs)."""
        return self.combine([body(x) for body in self.bodies])


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def in_chunks(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`call` over all of `x`, `CHUNK` examples at a time."""
    return torch.cat([call(part) for part in torch.split(x, CHUNK)])


def uploaded(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; a GPU fetches it by itself, so that the host need not wait for it."""
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def one_hot_votes(outputs: Tensor) -> Tensor:
    """(members, N, classes) outputs to one-hot votes of the same shape; a tie goes to the lowest class."""
    return nn.functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).to(outputs.dtype)


def make_optimizer(groups: list[dict[str, Any]], name: str, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer "sgd", "adam" or "adamw" for these groups; what a group doesn't say comes from the recipe.

    On a GPU it is the fused one, which updates all parameters at once.
    """
    fused = all(p.is_cuda for group in groups for p in group["params"]) or None  # None: as torch likes it
    if name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
            fused=fused,
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.lr, weight_decay=recipe.weight_decay if name == "adamw" else 0.0, fused=fused)


def own_names(net: nn.Module) -> dict[str, str]:
    """The name of every parameter, and the first name of the same parameter: another one where weights are tied."""
    first = {id(p): name for name, p in net.named_parameters()}
    return {name: first[id(p)] for name, p in net.named_parameters(remove_duplicate=False)}


def states_of(members: Sequence[Member]) -> list[State]:
    """The members' state dicts, if they can be merged; of their bodies alone where they don't share a task.

    Raises:
        NotApplicable: if their networks differ in the names or shapes of their tensors.
    """
    whole = share_a_task(members)
    states = [_mergeable(member.net, whole=whole) for member in members]
    shapes = _shapes(states[0])
    for member, state in zip(members, states, strict=True):
        if _shapes(state) != shapes:
            raise NotApplicable(f"members {members[0].name} and {member.name} differ in architecture")
    return states


def base_state(of: Fusing) -> State:
    """The state dict of what the members started from, if they still have its tensors; its body as in `states_of`.

    Raises:
        NotApplicable: if the names or shapes of tensors differ.
    """
    whole = share_a_task(of.members)
    state = _mergeable(of.base, whole=whole)
    if _shapes(state) != _shapes(_mergeable(of.members[0].net, whole=whole)):
        raise NotApplicable(f"member {of.members[0].name} has other tensors than the network it started from")
    return state


def _mergeable(net: Net, *, whole: bool) -> State:
    state: State = net.state_dict()
    return state if whole else {name: tensor for name, tensor in state.items() if name.startswith("stages.")}


def _shapes(state: State) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def average(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """The weighted sum of state dicts, by `weighted_sum`.

    Integer buffers (BatchNorm's counters) can't be averaged: the largest is kept.
    """
    return {name: weighted_sum([state[name] for state in states], weights) for name in states[0]}


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of tensors of one shape, a new one; of integers the largest.

    It is a running mean, m <- m + (x - m) w / (sum of weights so far), in float32 at least: one pass over each tensor,
    and equal tensors give themselves to the last bit, which a sum that is rounded does not. Order moves the last bits.
    """
    first, kind = tensors[0], tensors[0].dtype
    if not kind.is_floating_point:
        return torch.stack(list(tensors)).amax(0)
    if torch.finfo(kind).bits < 32:
        return weighted_sum([tensor.float() for tensor in tensors], weights).to(kind)
    if len(tensors) == 1 or min(weights) < 0:  # weights so far may sum to 0
        out = first * weights[0]
        for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
            out.add_(tensor, alpha=weight)
        return out
    out, total = first, weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total += weight
        share = weight / total if total else 0.0
        out = torch.lerp(first, tensor, share) if out is first else out.lerp_(tensor, share)
    return out if math.isclose(total, 1, rel_tol=1e-12) else out.mul_(total)


@torch.no_grad()
def merged(members: Sequence[Member], rule: Rule, x: Inputs, weights: Sequence[float] | None = None) -> Net:
    """One network whose every parameter is `rule(name, tensors)` of the members' parameters of that name.

    A rule must not change what it is given; it may compute in float64. It is asked once for weights that all members
    tie, which stay tied. Running statistics are averaged with `weights` (None: equal ones) and, where the network is
    none of the members, recomputed on inputs `x`, unless that is None. The members' largest counter is kept. Members
    that don't share a task keep their heads: only the body is merged, and a `ManyHeads` is returned; `x` is then what
    `train_inputs(of)` says by the pool's policy.

    Raises:
        NotApplicable: if the members differ in architecture.
    """
    states = states_of(members)
    weights = [1 / len(members)] * len(members) if weights is None else weights
    net: Net = shell(members[0].net)
    ruled, first = own_names(net), _tied(members)
    made: dict[str, Tensor] = {}
    for name in states[0]:
        if name in first:
            made[name] = made[first[name]]
            continue
        tensors = [state[name] for state in states]
        new = rule(name, tensors).to(tensors[0].dtype) if name in ruled else weighted_sum(tensors, weights)
        new = new.clone() if any(new.data_ptr() == tensor.data_ptr() for tensor in tensors) else new
        made[name] = nn.Parameter(new) if name in first.values() else new  # one object, so that a tie is one
    net.load_state_dict(made, strict=share_a_task(members), assign=True)
    if not share_a_task(members):
        policy = "averaged" if x is None else "shared" if isinstance(x, Tensor) else "per-task"
        net = ManyHeads(net, {member.name: copy.deepcopy(member.net.head) for member in members}, policy)
    own = isinstance(x, Mapping)
    if x is not None and (own or not any(_same_parameters(net, member.net) for member in members)):
        recalibrate(net, x)
    return net.eval()


def _tied(members: Sequence[Member]) -> dict[str, str]:
    """Names of parameters that every member has under another name first, with that name."""
    own, *others = [own_names(member.net) for member in members]
    return {name: one for name, one in own.items() if name != one and all(o.get(name) == one for o in others)}


def averaged(members: Sequence[Member], weights: Sequence[float], x: Inputs) -> Net:
    """One network with the weighted sum of the members' weights; `x` as in `merged`."""
    return merged(members, lambda _, tensors: weighted_sum(tensors, weights), x, weights)


def _same_parameters(one: Net, other: Net) -> bool:
    if isinstance(one, ManyHeads):  # all of its heads are a member's
        return all(torch.equal(p, q) for p, q in zip(one.stages.parameters(), other.stages.parameters(), strict=True))
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@torch.no_grad()
def recalibrate(model: nn.Module, x: Tensor | Mapping[str, Tensor], batch_size: int = 256) -> None:
    """Recompute BatchNorm's running statistics on inputs `x`; keeps parameters and counters. No-op without BatchNorm.

    Of a `ManyHeads` with statistics for each name `x` may be the inputs by name. Averaged weights make activations that
    none of the members' statistics describe (Wortsman et al. 2022, Izmailov et al. 2018, arXiv 1803.05407).
    """
    if isinstance(model, ManyHeads) and (isinstance(x, Tensor) or len(model.own)):
        model.renew(x, batch_size)
    elif isinstance(x, Tensor):
        recompute(model, model, x, batch_size)
    else:
        raise PluginError("inputs by name are for a ManyHeads that has statistics for each name")


def __getattr__(name: str) -> object:
    """Say what became of `quality`, which every task now knows for itself."""
    if name == "quality":
        raise PluginError("nets.quality(task, ...) is now a method of every task: of.task.quality(outputs, data)")
    raise AttributeError(f"module 'finefuse.nets' has no attribute {name!r}")
