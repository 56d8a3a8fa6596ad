"""What the backbones have in common whose weights come from elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from finefuse import NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning
from finefuse_zoo.backbones import _weights

if TYPE_CHECKING:
    from torch import nn

    from finefuse.nets import Net

Normalise = Literal["own", "imagenet", "half"]
Means = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Means = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Means = ((0.5,) * 3, (0.5,) * 3)
SMALL = 96
"""Images below this side are tried on the network before anything is trained; larger ones suit all."""


@dataclass(frozen=True)
class Pretrained:
    """A network of images by name, its weights by name or from a file; see the classes made of it."""

    model: str = "resnet18"
    weights: str = "default"
    file: Path | None = None
    classes: Annotated[int, Ge(0)] = 1000
    side: Annotated[int, Ge(1)] | None = None
    normalise: Normalise = "own"
    keep_head: bool = False
    weights_key: str | None = None
    source: ClassVar[Ref | None] = None

    def __post_init__(self) -> None:
        if "/" in self.weights or self.weights.endswith((".pth", ".pt", ".th", ".bin", ".safetensors")):
            raise ValueError(f"weights = {self.weights!r} looks like a file: say file = {self.weights!r} instead")
        if self.file is not None and self.weights != "default":
            raise ValueError(f"weights come from the file or are {self.weights!r}, not both: leave one out")
        if self.weights_key is not None and self.file is None:
            raise ValueError("weights_key says which weights of a file are taken: give it a `file`, or leave it out")
        if self.keep_head and self.head_outputs is None:
            raise ValueError("keep_head needs weights that come with a head that fits the network, and there are none")

    @property
    def named(self) -> bool:
        """Whether the weights are to be had by a name."""
        return self.file is None and self.weights != "none"

    @property
    def head_outputs(self) -> int | None:
        """Outputs of the head that comes with the weights; None where it is a fresh one."""
        return (self.classes or None) if self.file is not None or self.named else None

    def fingerprint(self) -> str:
        """Digest of the file, or version and name of the weights; "" for random ones. Imports no torch.

        Raises:
            FinefuseError: if there is no such file.
        """
        return _weights.digest_of(self.file) if self.file is not None else self.label() if self.named else ""

    def remarks(self) -> list[str]:
        """Which weights are taken, where the file holds several."""
        said = _weights.remark(self.file, self.weights_key) if self.file is not None else ""
        return [said] if said else []

    def budget(self) -> Budget:
        """Nothing is pretrained here."""
        return Budget()

    def tune(self, on: Tuning) -> None:
        """Nothing: the weights come as they are."""

    @abstractmethod
    def label(self) -> str:
        """What tells named weights apart, without torch."""

    @abstractmethod
    def parts(self, outputs: int, side: int | None) -> tuple[list[nn.Sequential], nn.Linear, Means]:
        """Stages, head and own normalisation, weights loaded; `side` is None for images that are not square."""

    def build(self, task: Task) -> Net:
        """The network with its weights; its head too, if the task has as many outputs as that, else a fresh one.

        Raises:
            NotApplicable: if inputs are not images that the network can take.
            FinefuseError: if weights can't be had, or don't fit.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones._preprocess import Preprocess

        shape = task.input_shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise NotApplicable(f"{self.model} takes images of one or three channels, not inputs of shape {shape}")
        height, width = (self.side, self.side) if self.side else shape[1:]
        stages, head, own = self.parts(task.outputs, height if height == width else None)
        means = {"own": own, "imagenet": IMAGENET, "half": HALF}[self.normalise]
        stages[0] = nn.Sequential(Preprocess(self.side, *means), *stages[0])
        layer_norm = any(isinstance(module, nn.LayerNorm) for stage in stages for module in stage.modules())
        convolutional = Recipe(
            "sgd", lr=0.01, lr_after_probe=1e-4, norm_after_probe="eval", lr_of_adapters=1e-3, lr_of_head=3e-3
        )
        normalised = Recipe("adamw", lr=1e-4, weight_decay=0.05, lr_of_adapters=1e-3, lr_of_head=3e-3)
        recipe = normalised if layer_norm else convolutional
        net = Net(stages, head, recipe)
        if min(height, width) < SMALL:
            self._try(net, shape)
        return net

    def member(self, task: Task, file: Path, key: str | None, head: bool) -> Net:
        """This network with the weights in another file; its head too, if the file has it.

        Raises:
            NotApplicable: if the network takes no head from a file.
            FinefuseError: if the weights can't be had, or don't fit.
        """
        classes = task.outputs if head else 0
        reader = replace(self, file=file, weights="default", weights_key=key, classes=classes, keep_head=False)
        if head and reader.head_outputs is None:
            raise NotApplicable(f"{self.model} takes no head from a file of weights: give it apart, as `head`")
        return reader.build(task)

    def _try(self, net: Net, shape: tuple[int, ...]) -> None:
        import torch

        from finefuse import nets

        try:
            with nets.evaluation(net):
                net(torch.zeros(1, *shape))
        except (RuntimeError, AssertionError) as error:
            raise NotApplicable(self.refused(shape[1], error)) from error

    def refused(self, side: int | None, error: Exception) -> str:
        """One sentence about images of a size that the network can't take."""
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        return f"{self.model} can't take images of side {self.side or side}, set another `side`: {reason}"
