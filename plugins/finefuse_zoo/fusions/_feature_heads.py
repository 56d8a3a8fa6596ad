"""What fusions of features put on top of the members. Apart from them, because it needs torch to be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from finefuse.types import Task


class OnConcatenated(nn.Module):
    """`head([h_1; ...; h_M])`."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: list[Tensor]) -> Tensor:
        """A list of (N, width of m) to (N, outputs)."""
        return self.head(torch.cat(features, -1))  # type: ignore[no-any-return]


class OnMean(nn.Module):
    """`head(sum_m w_m A_m h_m)`.

    Starts from the given weights (M,), from identities padded with zeros up to the widest member, and from the heads,
    padded so and averaged with the same weights: with one-hot weights it is that member.
    """

    def __init__(self, heads: Sequence[nn.Linear], weights: Tensor) -> None:
        super().__init__()
        width, like = max(head.in_features for head in heads), heads[0].weight
        self.weights = nn.Parameter(weights.to(like))
        eyes = [torch.eye(width, head.in_features, dtype=like.dtype, device=like.device) for head in heads]
        self.projections = nn.ParameterList(eyes)
        with torch.no_grad():
            weight = sum(w * head.weight @ eye.T for w, head, eye in zip(self.weights, heads, eyes, strict=True))
            bias = sum(w * head.bias for w, head in zip(self.weights, heads, strict=True))
        self.head = linear(torch.as_tensor(weight), torch.as_tensor(bias))

    def forward(self, features: list[Tensor]) -> Tensor:
        """A list of (N, width of m) to (N, outputs)."""
        projected = [h @ a.T for h, a in zip(features, self.projections, strict=True)]
        return self.head((self.weights[:, None, None] * torch.stack(projected)).sum(0))  # type: ignore[no-any-return]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer, in float32, of these weights (outputs, width) and bias (outputs,)."""
    outputs, width = weight.shape
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, width, outputs, device=weight.device)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def drawn_linear(width: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    """A layer with weights and bias uniform within 1 / sqrt(width), as torch draws them, but from `rng`."""
    drawn = (torch.rand(outputs, width + 1, generator=rng) * 2 - 1) * width**-0.5
    return linear(drawn[:, :-1], drawn[:, -1])


def fitted_mlp(
    features: Tensor, y: Tensor, task: Task, width: int, steps: int, lr: float, rng: torch.Generator
) -> nn.Sequential:
    """A perceptron with one hidden layer, trained on (N, inputs) features that are standardised on the way.

    The standardisation becomes part of the first layer, so that what comes back takes features as they are.
    """
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    first, last = drawn_linear(features.shape[1], width, rng), drawn_linear(width, task.outputs, rng)
    mlp = nn.Sequential(first, nn.ReLU(), last).to(features.device)
    train_full_batch(mlp, (features - mean) / std, y, task, steps, lr)
    with torch.no_grad():
        first.weight.div_(std)
        first.bias.sub_(first.weight @ mean)
    return mlp


def train_full_batch(
    model: nn.Module, inputs: Tensor | list[Tensor], y: Tensor, task: Task, steps: int, lr: float
) -> None:
    """So many steps of Adam on all examples at once; the loss is the task's usual one."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(model(inputs), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
