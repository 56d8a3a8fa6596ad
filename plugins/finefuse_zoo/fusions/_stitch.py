"""Joining two networks in the middle: the affine map between what one gives and what the other expects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch

from finefuse import NotApplicable, nets
from finefuse_zoo.channels import channel_axis

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net
    from finefuse.types import Data


def lower(net: Net, stages: int) -> Callable[[Tensor], Tensor]:
    """What a network gives after its first so many stages."""
    return torch.nn.Sequential(*net.stages[:stages])


def adapter(one: Net, after_one: int, two: Net, after_two: int, on: Data) -> nn.Module:
    """The layer that takes what `one` gives nearest to what `two` gives, in least squares over examples and positions.

    An affine map of channels: a 1x1 convolution on maps (N, C, H, W), else a linear layer on the last axis, which is
    that of the channels in (N, H, W, C) as well. It is solved for as the change from the identity, so that equal
    networks get exactly that.

    Raises:
        NotApplicable: if the two have other sizes but for the channels, or these on another axis.
    """
    below, aim = lower(one, after_one), lower(two, after_two)
    x = on.inputs(slice(1))
    axes = channel_axis(one, after_one, x), channel_axis(two, after_two, x)
    with nets.evaluation(one), nets.evaluation(two):
        first, second = below(x), aim(x)
        _require_equal_sizes(first, second, axes)
        start = torch.eye(second.shape[axes[1]], first.shape[axes[0]], dtype=torch.float64, device=first.device)
        parts = (on.inputs(slice(at, at + nets.CHUNK)) for at in range(0, len(on), nets.CHUNK))
        pairs = ((_rows(below(part), axes[0]), _rows(aim(part), axes[1])) for part in parts)
        weight, bias = _least_squares(pairs, start)
    return _as_layer(weight, bias, first.ndim - 2 if axes[0] == 1 else 0)


def _require_equal_sizes(one: Tensor, two: Tensor, axes: tuple[int, int]) -> None:
    def positions(activation: Tensor, axis: int) -> list[int]:
        return list(activation.movedim(axis, 1).shape[2:])

    sizes = f"at the splice the members' feature maps have sizes {list(one.shape[1:])} and {list(two.shape[1:])}"
    if one.ndim != two.ndim or positions(one, axes[0]) != positions(two, axes[1]):
        raise NotApplicable(f"{sizes}, which differ in more than their channels")
    if axes[0] != axes[1]:
        raise NotApplicable(f"{sizes}, of which one has the channels first and the other last")


def _rows(activation: Tensor, axis: int) -> Tensor:
    """(examples x positions, channels), float64."""
    return activation.movedim(axis, -1).flatten(0, -2).double()


def _least_squares(pairs: Iterable[tuple[Tensor, Tensor]], start: Tensor) -> tuple[Tensor, Tensor]:
    """W (outputs, inputs) and b (outputs,) that minimise sum ||W x + b - y||^2; of many minima that next to `start`."""
    outputs, inputs = start.shape
    gram, cross = start.new_zeros(inputs + 1, inputs + 1), start.new_zeros(inputs + 1, outputs)
    for x, y in pairs:
        seen = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        gram.addmm_(seen.T, seen)
        cross.addmm_(seen.T, y - x @ start.T)
    gram.diagonal().add_(1e-10 * gram.diagonal().mean())
    change = torch.linalg.solve(gram, cross)
    return start + change[:-1].T, change[-1]


def _as_layer(weight: Tensor, bias: Tensor, positions: int) -> nn.Module:
    """A convolution of size 1 over so many axes of positions behind the channels, or for none a linear layer."""
    outputs, inputs = weight.shape
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    make = torch.nn.utils.skip_init  # it draws nothing from the global generator
    size = (1,) if positions else ()
    layer: nn.Module = make(kinds[positions], inputs, outputs, *size, device=weight.device)  # type: ignore[no-untyped-call]
    layer.load_state_dict({"weight": weight.reshape(outputs, inputs, *size * positions), "bias": bias})
    return layer
