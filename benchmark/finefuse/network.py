"""`Net`: what schemes tune and fusions merge."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from finefuse.recipe import Recipe


class Net(nn.Module):
    """A network made of ordered `stages` and a `head`.

    The last stage ends in a vector per example. Stages are the one source of truth for unfreezing, layer-wise rates,
    caching of frozen prefixes and feature fusion.
    """

    def __init__(self, stages: Sequence[nn.Module], head: nn.Linear, recipe: Recipe | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.recipe = recipe or Recipe()

    def features(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, width): what the head sees."""
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs): logits, or regressed values."""
        return self.head(self.features(x))  # type: ignore[no-any-return]

    def replace_head(self, outputs: int) -> None:
        """Put a fresh linear head of another size in place, drawn from torch's global generator."""
        old = self.head.weight
        self.head = nn.Linear(self.head.in_features, outputs).to(old.device, old.dtype)
