"""Common to all kinds of task: shapes, and outputs that must be finite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finefuse.types import Modality

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """The fields of a task: how many outputs, and of what inputs."""

    outputs: int
    modality: Modality
    input_shape: tuple[int, ...]

    def resized(self, outputs: int) -> Self:
        """The same task with another number of outputs."""
        return replace(self, outputs=outputs)

    def bad_outputs(self, outputs: Tensor, count: int) -> str:
        """Outputs must have the shape (count, outputs) and be finite."""
        if outputs.shape != (count, self.outputs):
            return f"outputs have the shape {tuple(outputs.shape)}, {(count, self.outputs)} was expected"
        wrong = int((~outputs.isfinite()).any(-1).sum())
        return f"outputs are not finite for {wrong} of {count} examples" if wrong else ""
