"""The residual networks for CIFAR-10 of He et al. 2016, with weights from a file: a backbone of one's own.

finefuse run untouched.toml --plugin cifar_resnets.py
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from finefuse import Entry, FinefuseError, Task, hookimpl
from finefuse.types import Budget, Recipe, Tuning

if TYPE_CHECKING:
    from torch import nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class CifarResNet:
    """ResNet-20, 32, 44 or 56 for images of 32x32 (arXiv 1512.03385), trained on the lossless CIFAR-10.

    `weights` is a folder with the files of github.com/akamaster/pytorch_resnet_cifar10. The networks keep their head.
    """

    weights: Path
    depth: Literal[20, 32, 44, 56] = 20
    keep_head: bool = True
    source = None
    head_outputs = 10

    def fingerprint(self) -> str:
        """Digest of the weights file."""
        return hashlib.sha256(self._file().read_bytes()).hexdigest()

    def budget(self) -> Budget:
        """Nothing is pretrained here."""
        return Budget()

    def build(self, task: Task) -> Net:
        """Stem, three stages, and a linear head; with the weights from the file."""
        from cifar_blocks import Normalise
        from torch import nn

        from finefuse.nets import Net

        stem = [Normalise(), nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        groups = [self._blocks(16, 16, 1), self._blocks(16, 32, 2), self._blocks(32, 64, 2)]
        last = nn.Sequential(*groups[2], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net = Net(
            [nn.Sequential(*stem), nn.Sequential(*groups[0]), nn.Sequential(*groups[1]), last],
            nn.Linear(64, task.outputs),
            Recipe("sgd", lr=0.01, weight_decay=1e-4),
        )
        stored = torch.load(self._file(), map_location="cpu", weights_only=True)["state_dict"]
        counters = {name: tensor for name, tensor in net.state_dict().items() if not tensor.is_floating_point()}
        names = [name for name in net.state_dict() if name not in counters]  # the same order as in the file
        net.load_state_dict(counters | dict(zip(names, stored.values(), strict=True)))
        return net

    def tune(self, on: Tuning) -> None:
        """The weights come from the file."""

    def _blocks(self, inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        from cifar_blocks import Block

        count = (self.depth - 2) // 6
        return [Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(count - 1))]

    def _file(self) -> Path:
        found = sorted(self.weights.glob(f"resnet{self.depth}-*.th"))
        if not found:
            raise FinefuseError(
                f"{self.weights}: there is no resnet{self.depth}-*.th; see the README beside the plugin"
            )
        return found[0]


@hookimpl
def finefuse_backbones():
    yield Entry("cifar-resnet", CifarResNet, "ResNet-20 to 56 for CIFAR-10, with weights from files")
