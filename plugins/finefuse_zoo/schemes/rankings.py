"""Figures that rank pretrained backbones without training them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from finefuse.types import Tuning
from finefuse_zoo.schemes._transferability import h_score, leep, log_evidence, nce, trans_rate
from finefuse_zoo.schemes.zero_step import ZeroStep


@dataclass(frozen=True)
class LogMe:
    """Report `logme`, the largest log evidence per example of linear regression on the features.

    You et al. 2021, 2102.11005: targets are the one-hot classes, or the values in regression, and the evidence is the
    mean over them. Higher promises more. The head gets the regression's posterior mean; nothing else is trained. A
    record has it as `figure.logme`; it ranks backbones.
    """

    takes_steps: ClassVar[bool] = False

    def tune(self, on: Tuning) -> None:
        """The figure, and the head."""
        y, outputs = on.train.y, on.task.outputs
        targets = torch.nn.functional.one_hot(y, outputs) if on.task.classes else y
        on.figures["logme"], weights = log_evidence(on.trainer.features(on.model, on.train.x), targets)
        with torch.no_grad():
            on.model.head.weight.copy_(weights)
            on.model.head.bias.zero_()


@dataclass(frozen=True)
class Leep:
    """Report `leep`, the log-likelihood of the classes given the source head's probabilities (Nguyen et al. 2020).

    2002.12462: 1/N sum_i log sum_z P(y_i | z) p_iz, with P(y | z) counted on the training data. Higher promises more.
    The head is that of `zero-step`; nothing is trained. Classification only. A record has it as `figure.leep`.
    """

    needs: ClassVar[tuple[str, ...]] = ("source head",)
    takes_steps: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def tune(self, on: Tuning) -> None:
        """The head, and the figure."""
        ZeroStep().tune(on)
        on.figures["leep"] = leep(on.trainer.outputs(on.pretrained, on.train.x).softmax(-1), on.train.y)


@dataclass(frozen=True)
class HScore:
    """Report `h-score`, tr(cov(f)^+ cov(E[f | y])) of the features f (Bao et al. 2019, 2212.10082).

    How far apart the classes are, relative to the features' spread. Higher promises more. The head is that of
    `zero-step`; nothing is trained. Classification only. A record has it as `figure.h-score`. With fewer examples than
    features it is the number of classes less one, whatever the backbone.
    """

    takes_steps: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def tune(self, on: Tuning) -> None:
        """The head, and the figure."""
        ZeroStep().tune(on)
        on.figures["h-score"] = h_score(on.trainer.features(on.model, on.train.x), on.train.y)


@dataclass(frozen=True)
class Nce:
    """Report `nce`, -H(Y | Z), Z the source class that the source head finds likeliest (Tran et al. 2019, 1908.08142).

    Negative conditional entropy, in nats, counted on the training data; at most 0, higher promises more. The head is
    that of `zero-step`; nothing is trained. Classification only. A record has it as `figure.nce`.
    """

    needs: ClassVar[tuple[str, ...]] = ("source head",)
    takes_steps: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def tune(self, on: Tuning) -> None:
        """The head, and the figure."""
        ZeroStep().tune(on)
        on.figures["nce"] = nce(on.trainer.outputs(on.pretrained, on.train.x).argmax(-1), on.train.y)


@dataclass(frozen=True)
class TransRate:
    """Report `transrate`, R(F) - R(F | y), R the coding rate of features at a distortion (Huang et al. 2022).

    2106.09207: how many nats more it takes to code all features F, centred and scaled to a mean squared length of 1,
    than those of each class by itself, to a precision of `epsilon`. Higher promises more, where there are more examples
    than features. The head is that of `zero-step`; nothing is trained. Classification only. A record has it as
    `figure.transrate`.
    """

    epsilon: Annotated[float, Gt(0)] = 1e-2
    takes_steps: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def tune(self, on: Tuning) -> None:
        """The head, and the figure."""
        ZeroStep().tune(on)
        features = on.trainer.features(on.model, on.train.x)
        on.figures["transrate"] = trans_rate(features, on.train.y, self.epsilon)
