"""Classification: one class for each example, by the logits of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse.tasks.pairs import agreement
from finefuse.tasks.shape import Shape
from finefuse.types import Data

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SMALLEST = 2.0**-23
"""Replaces a probability of 0 in a logarithm: the resolution of float32 at 1, 1.2e-7."""
LOWEST = -(2.0**127)
"""Replaces a log-probability of minus infinity, because outputs must be finite: near the least float32."""


def log_probs(p: Tensor) -> Tensor:
    """Probabilities as logits; a probability of 0 becomes the smallest that float32 tells from it, 1.2e-7."""
    return p.clamp_min(SMALLEST).log()


def agreed(combined: Tensor, logp: Tensor) -> Tensor:
    """The combined log-probabilities (N, classes), or the members' mean where they veto every class: all are -inf."""
    vetoed = combined.amax(-1, keepdim=True) == -math.inf
    return (logp.logsumexp(0) - math.log(len(logp))).where(vetoed, combined)


@dataclass(frozen=True)
class Classification(Shape):
    """Tell which of `outputs` classes each example belongs to; targets are class numbers (N,), int64."""

    kind: ClassVar[str] = "classification"
    mixes: ClassVar[bool] = True

    @property
    def classes(self) -> int:
        """One for each output."""
        return self.outputs

    def bad_targets(self, y: Tensor) -> str:
        """Targets must be whole numbers (N,) from 0 to outputs - 1."""
        if y.is_floating_point() or y.ndim != 1:
            return f"targets must be class numbers of shape (N,), not {y.dtype} {tuple(y.shape)}"
        if len(y) and not (int(y.min()) >= 0 and int(y.max()) < self.outputs):
            return f"class numbers must lie between 0 and {self.outputs - 1}, not {int(y.min())} and {int(y.max())}"
        return ""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy, of class numbers (N,) or of shares of classes (N, classes)."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, y)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The cross-entropy of each example."""
        logp = outputs.log_softmax(-1)
        return -logp.gather(-1, y.expand(logp.shape[:-1])[..., None])[..., 0]

    def right(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Whether the largest logit, of equals the first, is that of the right class."""
        return outputs.argmax(-1) == y

    def quality(self, outputs: Tensor, data: Data) -> float:
        """Accuracy."""
        return float(self.right(outputs, data.y).double().mean())

    def normalised(self, quality: float, own: float) -> float:
        """The ratio of the accuracies."""
        return quality / own if own else float("nan")

    def merits(self, outputs: Tensor, y: Tensor) -> Tensor:
        """How confident each member is in the right class; every right member ranks above every wrong one."""
        import torch

        sure = -self.losses(outputs, y)
        return sure + torch.where(self.right(outputs, y), 0.0, sure.min() - 1)

    def diversity(self, outputs: Tensor, y: Tensor) -> Mapping[str, float | None]:
        """Disagreement, Yule's Q and the correlation of being right."""
        return agreement(self.right(outputs, y))

    def averaged(self, outputs: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean, or weighted sum, of probabilities, as logits."""
        p = outputs.softmax(-1)
        return log_probs(p.mean(0) if weights is None else (weights[:, None, None].to(outputs) * p).sum(0))

    def by_rule(self, outputs: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """`rule` of log-probabilities, renormalised; logarithms keep the order of what is too small for float32.

        Where members veto every class, so that none has a probability above 0, it is the mean of probabilities.
        """
        logp = outputs.log_softmax(-1)
        return agreed(rule(logp), logp).log_softmax(-1).clamp_min(LOWEST)

    def directions(self, outputs: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The gradients of log p_k by the logits, v_k = onehot(k) - p, and q = p; or one class drawn from p."""
        import torch

        p, eye = outputs.softmax(-1), torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
        if rng is None:
            return eye - p[:, None, :], p
        drawn = torch.multinomial(p.cpu(), 1, generator=rng).to(outputs.device)
        return eye[drawn] - p[:, None, :], torch.ones_like(p[:, :1])

    def taught(self, outputs: Tensor, temperature: float) -> Tensor:
        """The mean of the teachers' probabilities at a temperature."""
        return (outputs / temperature).softmax(-1).mean(0)

    def teaching_loss(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """T^2 KL(taught || softmax(outputs / T)) (Hinton et al. 2015, 1503.02531)."""
        import torch

        logp = (outputs / temperature).log_softmax(-1)
        divergence: Tensor = (torch.special.xlogy(taught, taught) - taught * logp).sum(-1).mean()
        return temperature**2 * divergence

    def example(self, count: int, seed: int) -> Data:
        """Inputs that lie around a centre of their class."""
        import torch

        x = torch.randn(count, *self.input_shape, generator=torch.Generator().manual_seed(seed))
        y = torch.arange(count) % self.outputs
        centres = torch.randn(self.outputs, *self.input_shape, generator=torch.Generator().manual_seed(99))
        return Data(x + 1.5 * centres[y], y)

    def described(self) -> str:
        """What the outputs mean."""
        classes = f"classes 0 to {self.outputs - 1}, as the data set numbers them"
        return f"logits, whose softmax gives the probabilities of {classes}"
