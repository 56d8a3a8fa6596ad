"""LoRA, and three schemes that change one thing about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from re import Pattern
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import ordinary, tune_adapters

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Lora:
    """Train W x + b + (alpha / r) B A x with W and b frozen, and the head (Hu et al. 2021, arXiv 2106.09685).

    A (r, in) starts random and B (out, r) at zero; in a convolution A has the kernel's size and B is 1x1. At the end W
    + (alpha / r) B A takes the place of W. `dropout` is for the adapters' inputs. `targets` is a regular expression
    that is looked for in the names of layers (`stages.0.0`); None takes all linear and convolutional layers of the
    stages. Convolutions with groups, dilation or a padding other than zeros, which peft gets wrong, are left alone. It
    needs peft: `pip install 'finefuse[peft]'`. Checked: merged weights and the course of training against the formula.
    """

    r: Annotated[int, Ge(1)] = 8
    alpha: Annotated[float, Ge(0)] = 8.0
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}
    variant: ClassVar[Mapping[str, bool]] = {}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft

        config = peft.LoraConfig(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, **self.variant)
        tune_adapters(on, config, lr=self.lr, targets=self.targets, fits=self.fits, times=self.times)

    def times(self, name: str) -> float:  # noqa: ARG002
        """What the rate of a parameter of an adapter is multiplied by."""
        return 1.0

    def fits(self, layer: nn.Module) -> bool:
        """Whether a layer can have such an adapter."""
        return ordinary(layer)


@dataclass(frozen=True)
class RsLora(Lora):
    """`lora` with the scale alpha / sqrt(r), which keeps large ranks stable (Kalajdzievski 2023, arXiv 2312.03732).

    Checked as `lora`.
    """

    variant: ClassVar[Mapping[str, bool]] = {"use_rslora": True}


@dataclass(frozen=True)
class LoraPlus(Lora):
    """`lora` with a rate `ratio` times as high for B as for A (LoRA+, Hayou et al. 2024, arXiv 2402.12354).

    B starts at zero and has to go further. Checked as `lora`, and that `ratio` 1 has the bits of `lora`.
    """

    ratio: Annotated[float, Gt(0)] = 16.0
    space: ClassVar[Space] = {**Lora.space, "ratio": {"low": 1.0, "high": 64.0, "log": True}}

    def times(self, name: str) -> float:
        """What the rate of a parameter of an adapter is multiplied by."""
        return self.ratio if ".lora_B." in name else 1.0


@dataclass(frozen=True)
class Dora(Lora):
    """`lora` of a weight's direction, its magnitude trained apart (DoRA, Liu et al. 2024, arXiv 2402.09353).

    The weight is m V / ||V|| with V = W + (alpha / r) B A, the norm taken for each output, and m starting at ||W||. The
    gradient takes ||V|| for a constant. A layer with an output whose weights are all 0, and so have no direction, is
    left alone. Checked as `lora`.
    """

    variant: ClassVar[Mapping[str, bool]] = {"use_dora": True}

    def fits(self, layer: nn.Module) -> bool:
        """Whether a layer can have such an adapter."""
        return ordinary(layer) and bool(layer.get_parameter("weight").flatten(1).any(1).all())
