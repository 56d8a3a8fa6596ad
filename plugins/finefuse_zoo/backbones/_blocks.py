"""Modules the small networks are made of. Apart from the networks, because it needs torch to be read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COUNTS, CENTRE, SPREAD = 16, 5.0, 6.0
"""Bytes become as bright as the counts of `letters` and `digits`, from 0 to 16, and centred and scaled as those are."""


def as_small_pictures(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Pictures of any size and channels (N, C, H, W) as float pictures (N, *shape); those that are so stay untouched.

    Bytes are taken to be black at 0 and white at 255, floats to be centred and scaled already. Other numbers of
    channels become their mean, repeated; another size becomes this one both ways, bilinear with antialiasing.
    """
    if x.dtype == torch.uint8:
        x = (x.to(torch.float32) * (COUNTS / 255) - CENTRE) / SPREAD
    if x.shape[1] != shape[0]:
        x = x.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    if x.shape[2:] != shape[1:]:
        x = nn.functional.interpolate(x, size=shape[1:], mode="bilinear", align_corners=False, antialias=True)
    return x


class FirstStage(nn.Sequential):
    """Modules for pictures of one shape, which take those of any."""

    def __init__(self, shape: tuple[int, ...], *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Of any pictures."""
        return super().forward(as_small_pictures(x, self.shape))  # type: ignore[no-any-return, no-untyped-call]


class Residual(nn.Module):
    """`x + body(x)`."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return x + self.body(x)  # type: ignore[no-any-return]


def conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution, Kaiming-initialised, and BatchNorm: (N, inputs, H, W) to (N, outputs, H, W)."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def residual_stage(width: int) -> nn.Sequential:
    """One basic block (He et al. 2016, arXiv 1512.03385): two 3x3 convolutions beside a shortcut, same shape out."""
    body = nn.Sequential(conv_norm(width, width), nn.ReLU(), conv_norm(width, width))
    return nn.Sequential(Residual(body), nn.ReLU())


class Patches(nn.Module):
    """Overlapping 4x4 patches at a stride of 2 (Wu et al. 2021, arXiv 2103.15808), with a learned position each.

    Positions start as large as the embedded patches: with the usual 0.02 a short training never tells them apart.
    """

    def __init__(self, channels: int, side: int, dim: int) -> None:
        super().__init__()
        self.shape = (channels, side, side)
        self.embed = nn.Conv2d(channels, dim, kernel_size=4, stride=2, padding=1)
        self.positions = nn.Parameter(torch.empty((side // 2) ** 2, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the positions."""
        nn.init.normal_(self.positions, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures, brought to (N, channels, side, side), to (N, side^2 / 4, dim)."""
        x = as_small_pictures(x, self.shape)
        return self.embed(x).flatten(2).transpose(1, 2) + self.positions  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class MeanTokens(nn.Module):
    """(N, tokens, dim) to (N, dim)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the tokens."""
        return x.mean(1)


def transformer_block(dim: int, heads: int) -> nn.Sequential:
    """Attention and a two-layer perceptron, each behind a LayerNorm and beside a shortcut; same shape out."""
    perceptron = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
    return nn.Sequential(
        Residual(nn.Sequential(nn.LayerNorm(dim), Attention(dim, heads))),
        Residual(nn.Sequential(nn.LayerNorm(dim), perceptron)),
    )
