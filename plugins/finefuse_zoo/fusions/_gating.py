"""The module that `gate` learns. Apart from it, because it needs torch to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from finefuse.types import Task


class Gate(nn.Module):
    """sum_m softmax(g(phi))_m p_m, phi being the members' features side by side, standardised, and g a perceptron.

    `heads` turn features into the members' outputs. The last layer starts at zero: before it learns the gate gives the
    mean. Outputs are logarithms of probabilities, or in regression values.
    """

    def __init__(
        self, heads: Iterable[nn.Module], features: Sequence[Tensor], hidden: int, task: Task, rng: torch.Generator
    ) -> None:
        super().__init__()
        phi = torch.cat(list(features), -1)
        self.heads = nn.ModuleList(heads)
        self.task = task
        spread = phi.std(0, correction=0)
        self.register_buffer("mean", phi.mean(0))
        self.register_buffer("scale", torch.where(spread > 1e-6, spread, 1.0))
        width, count = phi.shape[1], len(self.heads)
        first = torch.randn(hidden, width, generator=rng, dtype=torch.float32).to(phi) / width**0.5
        self.first, self.first_bias = nn.Parameter(first), nn.Parameter(phi.new_zeros(hidden))
        self.last, self.last_bias = nn.Parameter(phi.new_zeros(count, hidden)), nn.Parameter(phi.new_zeros(count))

    def log_shares(self, features: Sequence[Tensor]) -> Tensor:
        """The logarithm of softmax(g(phi)), (N, members)."""
        phi = (torch.cat(list(features), -1) - self.get_buffer("mean")) / self.get_buffer("scale")
        seen = functional.linear(phi, self.first, self.first_bias).relu()
        return functional.linear(seen, self.last, self.last_bias).log_softmax(-1)

    def mix(self, log_shares: Tensor, outputs: Tensor) -> Tensor:
        """Shares (N, members) and the members' outputs (members, N, outputs) to (N, outputs)."""
        share = log_shares.T[..., None]
        if self.task.classes:
            return (share + outputs.log_softmax(-1)).logsumexp(0)
        return (share.exp() * outputs).sum(0)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features, (N, width of m) for each member, to (N, outputs)."""
        outputs = torch.stack([head(f) for head, f in zip(self.heads, features, strict=True)])
        return self.mix(self.log_shares(features), outputs)

    def learn(self, features: Sequence[Tensor], y: Tensor, steps: int, lr: float, decay: float) -> None:
        """Adam on all examples at once; the members' heads stay as they are."""
        with torch.no_grad():
            outputs = torch.stack([head(f) for head, f in zip(self.heads, features, strict=True)])
        learned = [self.first, self.first_bias, self.last, self.last_bias]
        optimizer = torch.optim.AdamW(learned, lr=lr, weight_decay=decay)
        with torch.enable_grad():
            for _ in range(steps):
                optimizer.zero_grad()
                self.task.loss(self.mix(self.log_shares(features), outputs), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
