"""The networks of timm."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from finefuse import FinefuseError, NotApplicable
from finefuse_zoo.backbones import _weights
from finefuse_zoo.backbones._pretrained import Means, Pretrained

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Timm(Pretrained):
    """A network of timm with a linear classifier.

    `weights` is a tag of timm's such as "a1_in1k", "default" for the model's first, or "none" for random ones; or
    `file` is a file of them. Their head has `classes` outputs (0: leave it out). Images are resized to `side`, if it is
    given, and bytes normalised as the model's own weights expect ("own"), by ImageNet's figures, or x/127.5 - 1
    ("half"). `weights_key` names what is taken of a file that holds several. `keep_head` keeps the head of the weights
    for a target with as many classes. ConvNeXt, EfficientNet, MobileNetV3, RegNet, ResNet, Swin, VGG and ViT are cut
    into stages; any other network is one stage. Recipe: AdamW at 1e-4 for networks with LayerNorm, else SGD at 0.01.
    """

    def label(self) -> str:
        """Version of timm and name of the weights."""
        return f"timm {version('timm')} {self.weights}"

    @property
    def _name(self) -> str:
        return f"{self.model}.{self.weights}" if self.named and self.weights != "default" else self.model

    def parts(self, outputs: int, side: int | None) -> tuple[list[nn.Sequential], nn.Linear, Means]:
        """The model of timm, loaded and cut."""
        import timm
        from torch import nn

        from finefuse_zoo.backbones._stages import cut_timm

        if not timm.is_model(self.model):
            near = get_close_matches(self.model, timm.list_models(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise FinefuseError(f"timm has no model {self.model!r}{hint}")
        model: Any = self._model(outputs, side)
        head = model.get_classifier()
        if not isinstance(head, nn.Linear):
            raise NotApplicable(f"{self.model} of timm has no linear classifier, but a {type(head).__name__}")
        if self.file is not None:
            self._load(model, head, outputs)
        own = model.pretrained_cfg
        return cut_timm(model, head), head, (tuple(own["mean"]), tuple(own["std"]))

    def _model(self, outputs: int, side: int | None) -> nn.Module:
        """The model of timm; with random weights, or with named ones and their head if it has as many outputs."""
        import timm

        try:
            config: Any = timm.get_pretrained_cfg(self._name, allow_unregistered=False)
        except RuntimeError as error:
            raise FinefuseError(f"timm has no weights {self.weights!r} for {self.model}: {error}") from error
        if self.named and outputs == self.classes != config.num_classes:
            what = f"{self._name} has a head of {config.num_classes} outputs"
            raise FinefuseError(f"{what}: say classes = {config.num_classes}, or 0 to leave it out")
        known: dict[str, Any] = {}
        if config.fixed_input_size and side != config.input_size[-1]:
            if side is None:
                raise NotApplicable(f"{self.model} takes square images: set `side`")
            known["img_size"] = side
        try:
            return timm.create_model(self._name, pretrained=self.named, num_classes=outputs, **known)
        except OSError as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            what = f"the weights of {self._name} can't be had from {config.hf_hub_id or config.url} ({reason})"
            raise FinefuseError(f"{what}: fetch them once with a network, or give their file as `file`") from error
        except (AssertionError, TypeError, ValueError) as error:
            raise NotApplicable(self.refused(side, error)) from error
        except RuntimeError as error:
            raise FinefuseError(f"{self._name} can't be loaded: {error}") from error

    def _load(self, model: nn.Module, head: nn.Linear, outputs: int) -> None:
        """Weights from the file, renamed and resized as timm's own module for the family does."""
        assert self.file is not None
        path = next(name for name, module in model.named_modules() if module is head)
        state = _weights.read(self.file, model, self.weights_key)
        adapt = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        if adapt is not None:
            state = dict(adapt(state, model))
        who, leave = f"{self.file}, as weights of {self.model},", () if outputs == self.head_outputs else (f"{path}.",)
        rows = state[f"{path}.weight"].shape[0] if f"{path}.weight" in state else self.classes
        if not leave and rows != outputs:
            raise FinefuseError(f"{who} has a head of {rows} outputs: say classes = {rows}, or 0 to leave it out")
        _weights.fit(model, state, who, leave)
