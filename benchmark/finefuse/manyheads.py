"""One body with the heads of several tasks: what merging members of different tasks gives, and how it is used."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from finefuse.batchnorm import norm_layers, recompute, running
from finefuse.errors import NotApplicable, PluginError
from finefuse.network import Net
from finefuse.types import Batch, Fusing, Loss, Member
from finefuse.types.aggregate import counts

Inputs = Tensor | Mapping[str, Tensor] | None
"""What BatchNorm's statistics are renewed from: one set of inputs, one for each name of a head, or nothing."""


class Statistics(nn.Module):
    """BatchNorm's running means and variances of a body, apart from it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.keep(body)

    def keep(self, body: nn.Module) -> None:
        """Take those of a body."""
        for i, tensor in enumerate(running(body)):
            self.register_buffer(f"running{i}", tensor.detach().clone())

    def put_into(self, body: nn.Module) -> None:
        """Let a body have them."""
        for mine, its in zip(self.buffers(), running(body), strict=True):
            its.copy_(mine)


class _Named(nn.Module):
    """Modules by name; several names may have the same one, which is held once."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        apart = list({id(module): module for module in modules.values()}.values())
        self.apart = nn.ModuleList(apart)
        self.places = {name: next(i for i, m in enumerate(apart) if m is one) for name, one in modules.items()}

    def __getitem__(self, name: str) -> Any:
        return self.apart[self.places[name]]


class ManyHeads(Net):
    """One body and a head for each of several names: what merging members of different tasks gives.

    By itself it has features and no outputs; `nets.for_member(net, member)` is the network for a member's task. Names
    may share a head. `policy` says where the body's BatchNorm statistics come from: "averaged" over the members,
    "shared" if they were renewed once, "per-task" if each name has its own, or "trained".
    """

    def __init__(self, body: Net, heads: Mapping[str, nn.Linear], policy: str = "trained") -> None:
        first = next(iter(heads.values()))
        super().__init__(list(body.stages), first, body.recipe)
        self.names, self.policy = tuple(heads), policy
        self._first = [name for name, head in heads.items() if head is first]
        self.others = _Named({name: head for name, head in heads.items() if head is not first})
        self.own = nn.ModuleList(Statistics(self.stages) for _ in heads if policy == "per-task")

    @property
    def heads(self) -> dict[str, nn.Linear]:
        """The heads by name."""
        return {name: self.head if name in self._first else self.others[name] for name in self.names}

    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002
        """Refuse: outputs of which task?"""
        raise PluginError(f"one body has heads for {', '.join(self.names)}; take one with nets.for_member(net, member)")

    def statistics(self, name: str) -> Statistics:
        """One name's own statistics of BatchNorm, where each has its own."""
        return self.own[self.names.index(name)]  # type: ignore[return-value]

    def network(self, name: str, head: nn.Linear | None = None) -> Net:
        """The network of one name, or its body with another head; weights are shared with this one."""
        stages = self.stages
        if len(self.own):
            stages = shell(self.stages)
            for layer in norm_layers(stages):
                if layer.running_mean is not None and layer.running_var is not None:
                    layer.running_mean, layer.running_var = layer.running_mean.clone(), layer.running_var.clone()
            self.statistics(name).put_into(stages)
        return Net(list(stages), head or self.heads[name], self.recipe).train(self.training)

    @torch.no_grad()
    def renew(self, x: Tensor | Mapping[str, Tensor], batch_size: int) -> None:
        """Recompute BatchNorm's statistics: the body's from `x`, or those of each name that has inputs from these."""
        if isinstance(x, Tensor):
            recompute(self.stages, self.features, x, batch_size)
            return
        before = Statistics(self.stages)
        for inputs in {id(inputs): inputs for inputs in x.values()}.values():
            recompute(self.stages, self.features, inputs, batch_size)
            for name in self.names:
                if x.get(name) is inputs:
                    self.statistics(name).keep(self.stages)
        before.put_into(self.stages)


class ByTask(nn.Module):
    """A module of its own for each of several names, such as an ensemble that asks the member for the task at hand.

    What it carries counts as its parameters: masks, too, should be `nn.Parameter`s (`requires_grad=False`).
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names, self.networks = tuple(networks), _Named(networks)

    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002
        """Refuse: outputs of which task?"""
        raise PluginError(f"there are networks for {', '.join(self.names)}; take one with nets.for_member(net, member)")


def share_a_task(members: Sequence[Member]) -> bool:
    """Whether all members were tuned for one and the same task: two tasks of equal shape are not one."""
    return all(member.task is members[0].task for member in members)


def by_task(members: Sequence[Member]) -> list[list[Member]]:
    """The members of each task, in the order of the first of each."""
    found: dict[int, list[Member]] = {}
    for member in members:
        found.setdefault(id(member.task), []).append(member)
    return list(found.values())


def for_member(net: nn.Module, member: Member) -> nn.Module:
    """The network for a member's task: the network itself, or its body with the member's head; weights are shared."""
    return for_task(net, [member])


def for_task(net: nn.Module, members: Sequence[Member]) -> nn.Module:
    """The network for the task that these members share; the heads of several are averaged."""
    first, *others = [member.name for member in members]
    if isinstance(net, ByTask):
        return net.networks[first]  # type: ignore[no-any-return]
    if not isinstance(net, ManyHeads):
        return net
    return net.network(first, _mean([net.heads[name] for name in (first, *others)]))


def _mean(heads: Sequence[nn.Linear]) -> nn.Linear:
    """A head with the mean of their weights; the very head if they all are one."""
    if all(head is heads[0] for head in heads):
        return heads[0]
    mean = copy.deepcopy(heads[0])
    with torch.no_grad():
        for name, p in mean.named_parameters():
            p.copy_(torch.stack([head.get_parameter(name) for head in heads]).double().mean(0))
    return mean


def one_per_task(net: nn.Module, groups: Mapping[str, Sequence[Member]]) -> ManyHeads | ByTask:
    """What a fusion of several tasks made, with the names of the tasks instead of the members'.

    Raises:
        PluginError: if it is for one task.
    """
    if isinstance(net, ByTask):
        return ByTask({name: net.networks[members[0].name] for name, members in groups.items()})
    if not isinstance(net, ManyHeads):
        raise PluginError(f"a fusion of several tasks gives a ManyHeads or a ByTask, not a {type(net).__name__}")
    heads = {name: _mean([net.heads[member.name] for member in members]) for name, members in groups.items()}
    made = ManyHeads(net, heads, net.policy)
    for own, members in zip(made.own, groups.values(), strict=False):
        own.load_state_dict(net.statistics(members[0].name).state_dict())
    return made.train(net.training)


def train_inputs(of: Fusing) -> Inputs:
    """What BatchNorm's statistics of a merged network are renewed from: training inputs, by the pool's policy."""
    if share_a_task(of.members):
        return of.train.x
    return _by_policy(of, {member.name: member.train.x for member in of.members})


def test_inputs(of: Fusing) -> Inputs:
    """The same, from the test inputs."""
    if share_a_task(of.members):
        return of.test_inputs
    return _by_policy(of, {member.name: member.test_inputs for member in of.members})


def _by_policy(of: Fusing, inputs: Mapping[str, Tensor]) -> Inputs:
    if of.statistics == "averaged":
        return None
    if of.statistics == "per-task":
        return inputs
    return _mixed(one_after_another([inputs[members[0].name] for members in by_task(of.members)]))


def _mixed(x: Tensor) -> Tensor:
    """Inputs in an order that puts all tasks into every batch, the same one each time."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order.to(x.device)]


def one_after_another(inputs: Sequence[Tensor]) -> Tensor:
    """The inputs of several tasks as those of one.

    Raises:
        NotApplicable: if they differ in their type of number: what means the same would be two things.
    """
    types = list(dict.fromkeys(str(x.dtype).removeprefix("torch.") for x in inputs))
    if len(types) > 1:
        raise NotApplicable(f"the inputs of the tasks are of different types: {', '.join(types)}")
    return torch.cat(list(inputs))


def mean_quality(of: Fusing, net: nn.Module) -> float:
    """How good a network is on val, for choosing between networks; higher is better.

    Of members that share a task it is the task's quality; else the mean over the tasks of `Task.normalised`, by the
    best member of each, where `of.zero` may leave some out.

    Raises:
        NotApplicable: if a task's own members are not good enough to be a measure.
    """
    found = []
    for members in by_task(of.members):
        first, own = members[0], max(member.score for member in members)
        alone = share_a_task(of.members)
        if not alone and not counts(first.task, own, of.zero):
            continue
        quality = first.task.quality(of.trainer.outputs(for_task(net, members), first.val.x), first.val)
        if not alone and math.isnan(quality := first.task.normalised(quality, own)):
            raise NotApplicable(f"the score of {first.name} on val is {own:g}, and nothing can be measured by it")
        found.append(quality)
    if not found:
        raise NotApplicable("the own models of all tasks score 0 on val, and nothing can be measured by them")
    return sum(found) / len(found)


class AllHeads(nn.Module):
    """The outputs of several heads side by side."""

    def __init__(self, heads: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        """(N, width) to (N, outputs of all)."""
        return torch.cat([head(features) for head in self.heads], -1)


def joint(net: Net, members: Sequence[Member], losses: Sequence[Loss] | None = None) -> tuple[ManyHeads, Net, Loss]:
    """What trains one network on all tasks at once: `of.trainer.fit(model, groups, loss=loss)`.

    Returns a `ManyHeads` that members of one task share a head of, the model that gives the outputs of all heads side
    by side, and its loss: the mean over examples of the losses of their tasks. `net` are body and heads to start from.
    `losses` replace those of the tasks, in the order of `by_task(members)`; each gets the outputs for its task and the
    `Batch` of its examples, whose rows are those of the member's training data.
    """
    groups = by_task(members)
    heads = [_mean([net.heads[m.name] for m in group]) if isinstance(net, ManyHeads) else net.head for group in groups]
    named = {m.name: head for head, group in zip(heads, groups, strict=True) for m in group}
    made = ManyHeads(net, named)
    head: Any = AllHeads(heads)
    starts = list(accumulate((len(group[0].train) for group in groups), initial=0))
    columns = list(accumulate((group[0].task.outputs for group in groups), initial=0))
    used = losses or [_usual(group[0]) for group in groups]

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        total = outputs.new_zeros(())
        for i, (group, own) in enumerate(zip(groups, used, strict=True)):
            mine = ((batch.rows >= starts[i]) & (batch.rows < starts[i + 1])).nonzero().flatten()
            if len(mine):
                rows = batch.rows[mine] - starts[i]
                part = Batch(group[0].train.y[rows], rows, lambda mine=mine: batch.x[mine])  # type: ignore[misc]
                total = total + own(outputs[mine, columns[i] : columns[i + 1]], part) * (len(mine) / len(batch.rows))
        return total

    return made, Net(list(made.stages), head, net.recipe), loss


def _usual(member: Member) -> Loss:
    return lambda outputs, batch: member.task.loss(outputs, batch.y)


def shell(net: Any) -> Any:
    """A copy that shares the network's tensors, to be given others."""
    memo: dict[int, Any] = {id(t): t for t in (*net.parameters(), *net.buffers())}
    empty = (v for module in net.modules() for v in vars(module).values() if type(v) is OrderedDict and not v)
    memo.update((id(v), OrderedDict()) for v in empty)  # hooks: copied one by one they take half of the time
    return copy.deepcopy(net, memo)
