"""A small residual network for 8x8 images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from finefuse import NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning

if TYPE_CHECKING:
    from finefuse.nets import Net


@dataclass(frozen=True)
class CnnS:
    """Residual network of three stages with BatchNorm (He et al. 2016, arXiv 1512.03385), pretrained on `letters`.

    Stages: a stem and three residual blocks, all of `width` channels at full resolution, the last one ending in a mean
    over the image. Takes images (N, C, H, W) of any size, bytes too: the first stage brings them to the shape that it
    was pretrained on.
    """

    width: Annotated[int, Ge(1)] = 16
    source = Ref("letters")
    adapts: ClassVar[bool] = True

    def fingerprint(self) -> str:
        """No weights are read."""
        return ""

    def budget(self) -> Budget:
        """About 10 seconds on one core."""
        return Budget(epochs=8, batch_size=64)

    def build(self, task: Task) -> Net:
        """Kaiming-initialised; the head as torch draws it.

        Raises:
            NotApplicable: if inputs are not images.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones._blocks import FirstStage, conv_norm, residual_stage

        if len(task.input_shape) != 3:
            shape = task.input_shape
            raise NotApplicable(f"cnn-s takes images (channels, height, width), not inputs of shape {shape}")
        w = self.width
        stages = [
            FirstStage(task.input_shape, conv_norm(task.input_shape[0], w), nn.ReLU()),
            residual_stage(w),
            residual_stage(w),
            nn.Sequential(residual_stage(w), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ]
        return Net(stages, nn.Linear(w, task.outputs), Recipe("sgd", lr=0.03, lr_of_head=0.03))

    def tune(self, on: Tuning) -> None:
        """Pretrain all of it with SGD."""
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": 0.1}])
