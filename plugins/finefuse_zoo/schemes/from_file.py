"""Networks that were tuned elsewhere, from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Len

from finefuse.types import Tuning
from finefuse_zoo.backbones import _weights
from finefuse_zoo.schemes import _given

UNKNOWN = "unknown"
Said = Annotated[str, Len(1)]


@dataclass(frozen=True)
class FromFile:
    """Read a network that was tuned elsewhere from a file; nothing is trained.

    `file` is safetensors or what `torch.save` wrote (a state dict, under `weights_key` if it holds several), with
    tensors named as in the backbone's own files of weights, or as in finefuse's networks (`stages.0...`,
    `head.weight`). Code in it is never run. `head` is a file of the head, if that is apart. `base` is a file of what
    the network was tuned from: it must hold the weights that the backbone starts from, and without it the base is
    unknown. `sha256` is compared with that of `file`. `licence` and `trained_on` say what is known of them. The figure
    `distance` is how far the body lies from the backbone's, divided by the norm of that: small where one was tuned from
    the other, about 1.4 for unrelated networks of one size; it proves neither.
    """

    file: Path
    head: Path | None = None
    base: Path | None = None
    weights_key: str | None = None
    sha256: Annotated[str, Len(64, 64)] | None = None
    licence: Said = UNKNOWN
    trained_on: Said = UNKNOWN
    takes_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for file in self._files().values():
            if not file.is_file():
                raise ValueError(f"the weights file {file} does not exist")
        if self.sha256 is not None and (found := _weights.digest_of(self.file)) != self.sha256.lower():
            raise ValueError(f"the sha256 of {self.file} is {found}, not {self.sha256}")

    def _files(self) -> dict[str, Path]:
        files = {"file": self.file, "head": self.head, "base": self.base}
        return {name: file for name, file in files.items() if file is not None}

    def provenance(self) -> dict[str, str]:
        """Names and digests of the files, what was declared of them, and which of several weights were taken."""
        told = {name: f"{file.name} (sha256 {_weights.digest_of(file)})" for name, file in self._files().items()}
        told = {"file": "", "base": UNKNOWN} | told | {"licence": self.licence, "trained_on": self.trained_on}
        remark = _weights.remark(self.file, self.weights_key)
        return told | ({"remark": remark} if remark else {})

    def tune(self, on: Tuning) -> None:
        """Put the weights in.

        Raises:
            FinefuseError: if a file is damaged or doesn't fit, or `base` holds other weights than the backbone.
        """
        net = _given.network(on, self.file, self.weights_key, head=self.head is None)
        if self.head is not None:
            _weights.fit(net.head, _weights.read(self.head, net.head), f"{self.head}, as the head,")
        if self.base is not None:
            _given.refuse_other_base(on, self.file, self.base, None)
        on.figures["distance"] = _given.distance(net, on.pretrained)
        on.model.load_state_dict(net.state_dict())
