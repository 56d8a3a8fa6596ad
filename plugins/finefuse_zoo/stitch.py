"""Joining two networks in the middle: the affine map between what one gives and what the other expects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch

from finefuse import NotApplicable, nets
from finefuse_zoo.feature_maps import channel_axis

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net


def lower(net: Net, stages: int) -> Callable[[Tensor], Tensor]:
    """What a network gives after its first so many stages."""
    return torch.nn.Sequential(*net.stages[:stages])


def adapter(one: Net, after_one: int, two: Net, after_two: int, x: Tensor) -> nn.Linear | nn.Conv2d:
    """The layer that takes what `one` gives nearest to what `two` gives, in least squares over inputs x and positions.

    An affine map of channels: a 1x1 convolution on maps (N, C, H, W), else a linear layer on the last axis. It is
    solved for as the change from the identity, so that equal networks get exactly that.

    Raises:
        NotApplicable: if the two have other sizes but for the channels.
    """
    below, aim = lower(one, after_one), lower(two, after_two)
    with nets.evaluation(one), nets.evaluation(two):
        first, second = below(x[:1]), aim(x[:1])
        _require_equal_sizes(first, second)
        start = torch.eye(_rows(second).shape[1], _rows(first).shape[1], dtype=torch.float64, device=first.device)
        pairs = ((_rows(below(part)), _rows(aim(part))) for part in torch.split(x, nets.CHUNK))
        weight, bias = _least_squares(pairs, start)
    return _as_layer(weight, bias, first.ndim == 4)


def _require_equal_sizes(one: Tensor, two: Tensor) -> None:
    def positions(activation: Tensor) -> list[int]:
        return list(activation.movedim(channel_axis(activation), 1).shape[2:])

    if one.ndim != two.ndim or positions(one) != positions(two):
        raise NotApplicable(
            f"at the splice the members' feature maps have sizes {list(one.shape[1:])} and {list(two.shape[1:])}, "
            "which differ in more than their channels"
        )


def _rows(activation: Tensor) -> Tensor:
    """(examples x positions, channels), float64."""
    return activation.movedim(channel_axis(activation), -1).flatten(0, -2).double()


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


def _as_layer(weight: Tensor, bias: Tensor, maps: bool) -> nn.Linear | nn.Conv2d:
    outputs, inputs = weight.shape
    kind, extra = (torch.nn.Conv2d, (1,)) if maps else (torch.nn.Linear, ())
    make = torch.nn.utils.skip_init  # it draws nothing from the global generator
    layer: nn.Linear | nn.Conv2d = make(kind, inputs, outputs, *extra, device=weight.device)  # type: ignore[no-untyped-call]
    values = {"weight": weight.view_as(layer.weight), "bias": bias}
    layer.load_state_dict(values)
    return layer
