"""Bring the units of one network into the places of those of another that have the most similar weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from finefuse import nets
from finefuse.errors import NotApplicable
from finefuse.matching.units import Axis, Units, follow
from finefuse.types import Fusing, Member

Places = dict[int, Tensor]
"""For each space of units the unit that belongs into each place."""


def aligned(of: Fusing) -> list[Member]:
    """The members, those behind the first with their units in its order; each computes what it did before.

    Raises:
        NotApplicable: if members differ in architecture, or units can't be followed through it.
    """
    first, *others = nets.states_of(of.members)
    few = of.members[0].train.inputs(slice(2))
    units = follow(of.members[0].net, few)
    made = [of.members[0]]
    for member, state in zip(of.members[1:], others, strict=True):
        net = copy.deepcopy(member.net)
        net.load_state_dict(permuted(units, net.state_dict(), match(units, first, state, of.rng)))
        _require_same_function(member.net, net, few)
        made.append(replace(member, load=partial(_itself, net)))
    return made


def _itself(net: nets.Net) -> nets.Net:
    return net


def _require_same_function(one: nets.Net, other: nets.Net, x: Tensor) -> None:
    """Units may have been lost sight of in code that torch doesn't see; then nothing may be permuted."""
    with nets.evaluation(one), nets.evaluation(other):
        before, after = one(x), other(x)
    if not torch.allclose(before, after, rtol=1e-2, atol=1e-2 * float(before.abs().max())):
        raise NotApplicable("units of this network can't be followed: permuted, it computes something else")


def match(units: Units, to: nets.State, state: nets.State, rng: torch.Generator) -> Places:
    """For every space the unit (size,) of `state` that belongs into each place of `to`.

    Weight matching (Ainsworth et al. 2023, arXiv 2209.04836): spaces are matched in random order, the others given, by
    linear assignment, until nothing gets better. Started twice, from the units' own places and from a sweep that
    matches spaces from the input on by the weights whose other axes are in place; the better end is taken.
    """
    pair = _Pair(units.free(), to, state)
    stay = {space: torch.arange(units.sizes[space]) for space in pair.spaces}
    swept: Places = {}
    for space, axes in pair.spaces.items():
        known = [axis for axis in axes if {s for s, _ in pair.others(space, axis)} <= swept.keys()]
        swept[space] = pair.assign(space, known, swept) if known else stay[space]
    starts = [stay, swept][: 1 if all(torch.equal(stay[space], swept[space]) for space in stay) else 2]
    ends = [pair.descend(start, rng) for start in starts]
    return max(ends, key=lambda places: pair.similarity(pair.by_name, places))


def permuted(units: Units, state: nets.State, places: Places) -> dict[str, Tensor]:
    """A state dict with the units in these places."""
    by_name = _by_name(units.free())
    return {name: _permute(tensor, by_name.get(name, []), places) for name, tensor in state.items()}


def _by_name(spaces: Mapping[int, Sequence[Axis]]) -> dict[str, list[tuple[int, Axis]]]:
    by_name: dict[str, list[tuple[int, Axis]]] = {}
    for space, axes in spaces.items():
        for axis in axes:
            by_name.setdefault(axis.name, []).append((space, axis))
    return by_name


def _permute(tensor: Tensor, axes: Sequence[tuple[int, Axis]], places: Places) -> Tensor:
    for space, axis in axes:
        index = places[space][:, None] * axis.repeat + torch.arange(axis.repeat)
        tensor = tensor.index_select(axis.axis, index.flatten().to(tensor.device))
    return tensor


class _Pair:
    """Two networks of one architecture, of which the units of the second are to be brought into the first's places."""

    def __init__(self, spaces: Mapping[int, Sequence[Axis]], to: nets.State, state: nets.State) -> None:
        learned = ("running_mean", "running_var")
        self.spaces = {
            s: [a for a in axes if a.name in to and not a.name.endswith(learned)]  # heads of different tasks aren't
            for s, axes in spaces.items()
        }
        self.by_name = _by_name(self.spaces)
        self.to, self.state = to, state

    def others(self, space: int, axis: Axis) -> list[tuple[int, Axis]]:
        """The other axes of the tensor, with their spaces."""
        return [(s, a) for s, a in self.by_name[axis.name] if (s, a.axis) != (space, axis.axis)]

    def assign(self, space: int, axes: Sequence[Axis], places: Places) -> Tensor:
        """The places of one space that make the inner product of these tensors largest, the others given."""
        from scipy.optimize import linear_sum_assignment

        total = torch.zeros(())
        for axis in axes:
            moved = _permute(self.state[axis.name], self.others(space, axis), places)
            one, other = (
                t.movedim(axis.axis, 0).flatten(1) if t.ndim > 1 else t[:, None] for t in (self.to[axis.name], moved)
            )
            size = len(one) // axis.repeat
            total = total + (one.reshape(size, -1) @ other.reshape(size, -1).T).cpu()
        return torch.from_numpy(linear_sum_assignment(total.numpy(), maximize=True)[1])

    def descend(self, places: Places, rng: torch.Generator) -> Places:
        """Match one space after the other, in random order, as long as it helps."""
        keys, better = list(self.spaces), True
        while better:
            better = False
            for at in torch.randperm(len(keys), generator=rng).tolist():
                space = keys[at]
                tried = {**places, space: self.assign(space, self.spaces[space], places)}
                if torch.equal(tried[space], places[space]):
                    continue
                names = {axis.name for axis in self.spaces[space]}
                now, then = self.similarity(names, tried), self.similarity(names, places)
                if now - then > 1e-9 * abs(then):
                    places, better = tried, True
        return places

    def similarity(self, names: Iterable[str], places: Places) -> float:
        """The inner product of these tensors of the two."""
        moved = {name: _permute(self.state[name], self.by_name[name], places) for name in names}
        return sum(float((self.to[name] * tensor).sum(dtype=torch.float64)) for name, tensor in moved.items())
