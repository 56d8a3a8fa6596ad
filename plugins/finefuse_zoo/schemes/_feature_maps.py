"""Staying near the pretrained feature maps: what `feature-map` and `delta` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from finefuse import nets
from finefuse.types import Batch, Loss, Tuning
from finefuse_zoo.channels import channel_axis
from finefuse_zoo.linear import fit_linear
from finefuse_zoo.schemes._stage_outputs import stage_outputs

if TYPE_CHECKING:
    from torch import Tensor


def channel_axes(on: Tuning) -> list[int]:
    """Where the channels are in what each stage gives: (N, C), (N, tokens, C), (N, C, H, W) or (N, H, W, C)."""
    x = on.train.inputs(slice(1))
    return [channel_axis(on.pretrained, count, x) for count in range(1, len(on.pretrained.stages) + 1)]


def by_channel(activation: Tensor, axis: int) -> Tensor:
    """As (N, C, positions), in float32."""
    moved = activation.float().movedim(axis, 1)
    return moved.reshape(*moved.shape[:2], -1)


def distance(
    maps: Sequence[Tensor], originals: Sequence[Tensor], axes: Sequence[int], attention: Sequence[Tensor | float]
) -> Tensor:
    """1/2 sum_stages sum_c a_c ||F_c - F0_c||^2 / positions, in the mean over examples.

    `axes` say where the channels are, `attention` holds a (C,).
    """
    stages = zip(maps, originals, axes, attention, strict=True)
    squares = [(a * (by_channel(f, at) - by_channel(f0, at)).square().mean((0, 2))).sum() for f, f0, at, a in stages]
    return 0.5 * torch.stack(squares).sum()


def near_loss(on: Tuning, maps: Sequence[Tensor], strength: float, attention: Sequence[Tensor] | None = None) -> Loss:
    """The usual loss + strength * distance of the stages' latest `maps` to those of the pretrained network.

    Stages without parameters are left out: the trainer may have evaluated them ahead.
    """
    usual, axes = on.task.loss, channel_axes(on)
    kept = [i for i, stage in enumerate(on.model.stages) if any(True for _ in stage.parameters())]
    weights = [1.0 if attention is None else attention[i] for i in kept]

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        with stage_outputs(on.pretrained) as originals, nets.evaluation(on.pretrained):
            on.pretrained(batch.x)
        now, before = ([of[i] for i in kept] for of in (maps, originals))
        return usual(outputs, batch.y) + strength * distance(now, before, [axes[i] for i in kept], weights)

    return loss


def channel_attention(on: Tuning, examples: int) -> list[Tensor]:
    """For every stage C softmax_c(L without channel c - L), (C,), on the first so many training examples.

    L is the loss of the pretrained network with a linear probe on top; a channel is taken out by setting it to 0. The
    softmax doesn't see L itself.
    """
    stages, usual, axes = on.pretrained.stages, on.task.loss, channel_axes(on)
    weight, bias = fit_linear(on.trainer.features(on.pretrained, on.train.x), on.train.y, on.task.classes, 1.0)
    x, y = on.train.inputs(slice(examples)), on.train.y[:examples]

    def without(channel: Tensor, x: Tensor, i: int) -> Tensor:
        x = x.index_fill(axes[i], channel, 0.0)
        for stage in stages[i + 1 :]:
            x = stage(x)
        return usual(x.double() @ weight.T + bias, y)

    attention = []
    with nets.evaluation(on.pretrained):
        for i, stage in enumerate(stages):
            x = stage(x)
            channels = torch.arange(x.shape[axes[i]], device=x.device)
            losses = torch.stack([without(c, x, i) for c in channels])
            attention.append(len(channels) * losses.float().softmax(0))
    return attention
