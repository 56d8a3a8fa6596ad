"""The classification networks of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from finefuse import FinefuseError, NotApplicable
from finefuse_zoo.backbones import _catalogue, _weights
from finefuse_zoo.backbones._pretrained import Means, Pretrained

if TYPE_CHECKING:
    from torch import Tensor, nn

RESCALED = ("googlenet", "inception_v3")
"""With weights these undo ImageNet's normalisation and do their own, as torchvision's `transform_input`."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Second heads in the middle of them, for training from nothing; they are left out."""
FEATURES_ONLY = "IMAGENET1K_FEATURES"
"""Weights of VGG16 without its hidden layers, which belong to the stages here."""


@dataclass(frozen=True)
class Torchvision(Pretrained):
    """Any classification network of torchvision, in stages that follow its blocks, with a linear head.

    `weights` is a name of torchvision's, "default" for the newest, or "none" for random ones; or `file` is a file of
    them, with a head of `classes` outputs (0: leave it out). Images are resized to `side`, if it is given, and bytes
    normalised by ImageNet's figures, x/127.5 - 1 ("half"), or as torchvision's weights for the model expect ("own").
    `weights_key` names what is taken of a file that holds several. `keep_head` keeps the head of the weights for a
    target with as many classes. Dropout and stochastic depth are torchvision's. SqueezeNet's last layer is a
    convolution before a ReLU, which a linear head can't replace: it gets a fresh head on pooled features. Recipe: AdamW
    at 1e-4 for networks with LayerNorm, else SGD at 0.01.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        models = _catalogue.model_files()
        if models and self.model not in models:
            raise ValueError(f"torchvision has no classification model {self.model!r}{_near(self.model, models)}")
        if self.named and models:
            names = [name for name in _catalogue.weights_of(self.model) if name not in ("DEFAULT", FEATURES_ONLY)]
            if self._key not in ("DEFAULT", *names):
                known = ", ".join([*names, "default", "none"])
                raise ValueError(f"there are no weights {self.weights!r} for {self.model}, only {known}")

    @property
    def _key(self) -> str:
        return "DEFAULT" if self.weights == "default" else self.weights

    @property
    def head_outputs(self) -> int | None:
        """Outputs of the head that comes with the weights: 1000, or `classes` of a file; None where it is fresh."""
        if self.model.startswith("squeezenet"):
            return None
        return 1000 if self.named else super().head_outputs

    def label(self) -> str:
        """Version of torchvision and name of the weights."""
        return f"torchvision {version('torchvision')} {_catalogue.weights_of(self.model)[self._key]}"

    def parts(self, outputs: int, side: int | None) -> tuple[list[nn.Sequential], nn.Linear, Means]:
        """The model of torchvision, loaded and cut."""
        from torch import nn
        from torchvision import models

        from finefuse_zoo.backbones._stages import TORCHVISION, cut, with_bias

        model = self._model(outputs, side)
        heads = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        head = heads[-1] if heads else "classifier.1"
        if self.file is not None or self.named:
            kept = () if outputs == self.head_outputs else (f"{head}.",)
            self._load(model, head, kept)
        linear: Any = model.get_submodule(head)
        fresh = nn.Linear(linear.in_channels, outputs) if isinstance(linear, nn.Conv2d) else with_bias(linear)
        own = models.get_model_weights(self.model)[self._key if self.named else "DEFAULT"].transforms()
        return cut(model, TORCHVISION[type(model).__name__]), fresh, (tuple(own.mean), tuple(own.std))

    def _model(self, outputs: int, side: int | None) -> nn.Module:
        """The model of torchvision, with random weights."""
        from torchvision import models

        known: dict[str, Any] = {}
        if self.model in RESCALED:
            loaded = self.file is not None or self.named
            known = {"aux_logits": False, "init_weights": not loaded}
            known["transform_input"] = loaded and self.normalise != "half"
        elif self.model.startswith(("vit_", "maxvit_")):
            if side is None:
                raise NotApplicable(f"{self.model} takes square images: set `side`")
            known = {"image_size": side} if self.model.startswith("vit_") else {"input_size": (side, side)}
        try:
            return models.get_model(self.model, weights=None, num_classes=outputs, **known)  # type: ignore[no-any-return]
        except (AssertionError, ValueError) as error:
            raise NotApplicable(self.refused(side, error)) from error

    def _load(self, model: nn.Module, head: str, leave: tuple[str, ...]) -> None:
        who = f"{self.file}, as weights of {self.model}," if self.file else f"{self.weights} of {self.model}"
        state = _weights.read(self.file, model, self.weights_key) if self.file else self._download()
        rows = state[f"{head}.weight"].shape[0] if f"{head}.weight" in state else self.classes
        if not leave and rows != self.head_outputs:
            raise FinefuseError(f"{who} has a head of {rows} outputs: say classes = {rows}, or 0 to leave it out")
        if "encoder.pos_embedding" in state and hasattr(model, "image_size"):
            from torchvision.models.vision_transformer import interpolate_embeddings

            state = interpolate_embeddings(model.image_size, model.patch_size, state)
        _weights.fit(model, state, who, (*leave, *AUXILIARY))

    def _download(self) -> dict[str, Tensor]:
        """Named weights, from torch's cache or downloaded into it, with their checksum.

        Raises:
            FinefuseError: with the file that is missing, and where it belongs.
        """
        import pickle
        from pathlib import Path

        import torch
        from torchvision import models

        weights = models.get_model_weights(self.model)[self._key]
        folder, name = Path(torch.hub.get_dir()) / "checkpoints", weights.url.rpartition("/")[2]
        try:
            state = weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            what = f"{self.model} needs the file {name}, which can't be had from {weights.url} ({error})"
            raise FinefuseError(f"{what}: put it into {folder}, or give another as `file`") from error
        return _weights.plain(state, str(folder / name))


def _near(word: str, known: Any) -> str:
    near = get_close_matches(word.casefold(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
