"""What an image network does to images first. Apart from the networks, because it needs torch to be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Preprocess(nn.Module):
    """Images as the network wants them; without parameters, and nothing of it is in the state dict.

    One channel is repeated to three; with a `side` images are resized to it, both ways, if they have another (bilinear,
    antialiased). Bytes (uint8, 0 to 255) become float, x/255, and are normalised by `mean` and `std` of three channels;
    float images are taken to be normalised already.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, side: int | None, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 or 3, H, W), uint8 or float, to (N, 3, side, side), float."""
        raw = x.dtype == torch.uint8
        if raw:
            x = x.to(self.mean.dtype) / 255
        if self.side is not None and x.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            x = nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        return (x - self.mean) / self.std if raw else x

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"side={self.side}, mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
