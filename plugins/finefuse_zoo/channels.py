"""Which axis of what goes from stage to stage holds the channels: the layers that read and write it know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from finefuse import NotApplicable, nets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net


class Seen(NamedTuple):
    """A tensor that a layer was given or gave, and on which of its axes the layer has its channels."""

    tensor: Tensor
    axis: int

    def is_just(self, other: Tensor) -> bool:
        """Whether it is the same memory read in the same way."""
        one = self.tensor
        return (one.data_ptr(), one.shape, one.stride()) == (other.data_ptr(), other.shape, other.stride())


def channel_axis(net: Net, stages: int, x: Tensor) -> int:
    """Where the channels are in what `net` gives after its first so many stages, of inputs x.

    Maps are (N, C, H, W) for most networks and (N, H, W, C) for some, such as Swin; tokens are (N, tokens, C). Shapes
    don't tell, but layers do: convolutions, pooling and BatchNorm have channels first, linear layers and LayerNorm have
    them last. What reads or wrote the map itself is believed first, then the nearest that follows with as many axes,
    then the nearest before; of tokens those two the other way round, because they may be turned for a convolution.

    Raises:
        NotApplicable: if there is no such layer.
    """
    with nets.evaluation(net):
        with _layers_of(net) as (read, written):
            given = torch.nn.Sequential(*net.stages[:stages])(x)
        with _layers_of(net) as (following, _):
            torch.nn.Sequential(*net.stages[stages:], net.head)(given)
    if given.ndim == 2:
        return 1
    near = [following, written[::-1], read[::-1]] if given.ndim > 3 else [written[::-1], following, read[::-1]]
    all_near = [seen for some in near for seen in some]
    for seen in (*(seen for seen in all_near if seen.is_just(given)), *all_near):
        if seen.tensor.ndim == given.ndim:
            return seen.axis
    raise NotApplicable(f"no layer tells which axis of feature maps of size {list(given.shape[1:])} holds the channels")


@contextmanager
def _layers_of(net: Net) -> Iterator[tuple[list[Seen], list[Seen]]]:
    """What layers are given, and what they give, in the order of their calls; kept, so that no memory is used again."""
    read: list[Seen] = []
    written: list[Seen] = []

    def note(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        for tensor, seen in ((next(iter(inputs), None), read), (output, written)):
            axis = _axis_of(layer, tensor) if isinstance(tensor, torch.Tensor) else None
            if isinstance(tensor, torch.Tensor) and axis is not None:
                seen.append(Seen(tensor, axis))

    with ExitStack() as hooks:
        for layer in net.modules():
            hooks.callback(layer.register_forward_hook(note).remove)
        yield read, written


def _axis_of(layer: nn.Module, tensor: Tensor) -> int | None:
    """Where a layer has the channels of a tensor; None for layers that don't tell."""
    kinds, last = torch.nn.modules, tensor.ndim - 1
    first = (
        kinds.conv._ConvNd,
        kinds.batchnorm._NormBase,
        torch.nn.GroupNorm,
        kinds.pooling._MaxPoolNd,
        kinds.pooling._AvgPoolNd,
        kinds.pooling._AdaptiveAvgPoolNd,
        kinds.pooling._AdaptiveMaxPoolNd,
    )
    if isinstance(layer, first):
        return 1
    if isinstance(layer, torch.nn.LayerNorm) and type(layer) is not torch.nn.LayerNorm:  # ConvNeXt's has channels first
        fit = [axis for axis in (1, last) if list(layer.normalized_shape) == [tensor.shape[axis]]]
        return fit[0] if len(fit) == 1 else None
    if isinstance(layer, torch.nn.LayerNorm):
        return last if len(layer.normalized_shape) == 1 else None
    ends = (torch.nn.Linear, torch.nn.Embedding, torch.nn.TransformerEncoderLayer)
    return last if isinstance(layer, ends) else None
