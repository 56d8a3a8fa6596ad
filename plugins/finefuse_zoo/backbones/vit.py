"""A small vision transformer for 8x8 images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from finefuse import NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning

if TYPE_CHECKING:
    from finefuse.nets import Net

HEADS = 4


@dataclass(frozen=True)
class VitT:
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) with LayerNorm in front, pretrained on `letters`.

    Overlapping patches at a stride of 2, learned positions, `depth` blocks of 4 heads with `head_width` channels each,
    and the mean over the tokens. Stages: the embedding, every block, and the final norm with the mean. Takes images
    of any size, bytes too: the first stage brings them to the shape that it was pretrained on. It is built for square
    ones of an even side.
    """

    head_width: Annotated[int, Ge(1)] = 12
    depth: Annotated[int, Ge(1)] = 2
    source = Ref("letters")
    adapts: ClassVar[bool] = True

    def fingerprint(self) -> str:
        """No weights are read."""
        return ""

    def budget(self) -> Budget:
        """About 12 seconds on one core."""
        return Budget(epochs=8, batch_size=64)

    def build(self, task: Task) -> Net:
        """Weights as torch draws them.

        Raises:
            NotApplicable: if inputs are not square images of an even side.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones._blocks import MeanTokens, Patches, transformer_block

        shape = task.input_shape
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2:
            raise NotApplicable(f"vit-t takes square images of an even side, not inputs of shape {shape}")
        dim = HEADS * self.head_width
        stages = [
            Patches(shape[0], shape[1], dim),
            *(transformer_block(dim, HEADS) for _ in range(self.depth)),
            nn.Sequential(nn.LayerNorm(dim), MeanTokens()),
        ]
        return Net(stages, nn.Linear(dim, task.outputs), Recipe("adamw", lr=3e-3, weight_decay=0.05, lr_of_head=0.03))

    def tune(self, on: Tuning) -> None:
        """Pretrain all of it with AdamW."""
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": 4e-3}])
