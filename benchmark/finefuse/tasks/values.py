"""Common to tasks whose outputs are numbers rather than scores of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse.tasks.pairs import correlation
from finefuse.tasks.shape import Shape
from finefuse.types import Data

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Values(Shape):
    """Targets and outputs are (N, outputs), float32; answers aren't right or wrong, and the loss of each counts.

    A kind of task that derives from it gives its `kind` and its `losses`, and overrides whatever else differs.
    """

    classes: ClassVar[int] = 0
    mixes: ClassVar[bool] = False

    def bad_targets(self, y: Tensor) -> str:
        """Targets must be finite floating-point numbers (N, outputs)."""
        if not y.is_floating_point() or y.shape[1:] != (self.outputs,):
            return (
                f"targets must be floating-point numbers of shape (N, {self.outputs}), not {y.dtype} {tuple(y.shape)}"
            )
        return "" if y.isfinite().all() else "targets are not finite"

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of each example, (..., N)."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say what the loss of an example is")

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The mean of the examples' losses."""
        return self.losses(outputs, y).mean()

    def right(self, outputs: Tensor, y: Tensor) -> None:  # noqa: ARG002
        """No answer is simply right."""
        return

    def quality(self, outputs: Tensor, data: Data) -> float:
        """Minus the loss, in float64."""
        return -float(self.losses(outputs.double(), data.y.double()).mean().detach())

    def normalised(self, quality: float, own: float) -> float:
        """The own model's loss by this one's: half for a loss twice as large."""
        if not quality:
            return float("inf") if own else 1.0
        return own / quality

    def merits(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Minus the loss of each member on each example."""
        return -self.losses(outputs, y)

    def diversity(self, outputs: Tensor, y: Tensor) -> Mapping[str, float | None]:
        """The correlation of residuals."""
        return correlation((outputs - y).flatten(1).double())

    def averaged(self, outputs: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean, or weighted sum, of values."""
        return outputs.mean(0) if weights is None else (weights[:, None, None].to(outputs) * outputs).sum(0)

    def by_rule(self, outputs: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """`rule` of values."""
        return rule(outputs)

    def directions(self, outputs: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Unit vectors, as for normal errors of variance 1; or one normal vector."""
        import torch

        n, k = outputs.shape
        if rng is None:
            return torch.eye(k).to(outputs).expand(n, k, k), torch.ones_like(outputs)
        return torch.randn(n, 1, k, generator=rng).to(outputs), torch.ones_like(outputs[:, :1])

    def taught(self, outputs: Tensor, temperature: float) -> Tensor:  # noqa: ARG002
        """The teachers' mean."""
        return outputs.mean(0)

    def teaching_loss(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:  # noqa: ARG002
        """The mean squared difference."""
        from torch.nn import functional

        return functional.mse_loss(outputs, taught)

    def example(self, count: int, seed: int) -> Data:
        """Targets that are linear in the inputs."""
        import torch

        x = torch.randn(count, *self.input_shape, generator=torch.Generator().manual_seed(seed))
        y = x.flatten(1) @ torch.linspace(-1, 1, x[0].numel())[:, None] + 0.5
        return Data(x, y.expand(-1, self.outputs).contiguous())

    def described(self) -> str:
        """What the outputs mean."""
        return "the predicted values, in the order of the data set's targets"
