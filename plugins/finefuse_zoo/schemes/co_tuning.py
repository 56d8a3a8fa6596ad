"""Co-tuning of the new and the pretrained head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt

from finefuse.types import Batch, Data, NormPolicy, Space, Tuning
from finefuse_zoo.linear import fit_linear
from finefuse_zoo.schemes._second_head import source_head
from finefuse_zoo.schemes._stage_outputs import stage_outputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CoTuning:
    """CE(z_t, y_t) + strength * CE(z_s, p(y_s | y_t)): both heads are trained (You et al. 2020, NeurIPS).

    The relationship p(y_s | y_t) of source to target classes comes from the pretrained head's probabilities on the
    training data. "direct" takes their mean over every target class. "reverse" fits a logistic regression from them
    to the target class, with the C that is best on val, reads p(y_t | y_s) off where a source class is certain, and
    inverts it by Bayes' rule. The paper's strength 2.3 undoes a pretrained network in few steps: hence 1. They are
    not calibrated, because there are no held-out source data. The source head is dropped at the end. Apart from
    this it is `full`. Classification only. Checked as `source-replay`, and that a planted relationship is found.
    """

    strength: Annotated[float, Ge(0)] = 1.0
    relationship: Literal["direct", "reverse"] = "direct"
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    needs: ClassVar[tuple[str, ...]] = ("source head",)
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 0.1, "high": 10.0, "log": True},
    }
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with the source head's cross-entropy added to its loss."""
        cross_entropy, head = torch.nn.functional.cross_entropy, source_head(on)
        related = self._relationship(on)[on.train.y]

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            at_source = cross_entropy(head(features[-1]).float(), related[batch.rows])
            return cross_entropy(outputs, batch.y) + self.strength * at_source

        parameters = [*on.model.parameters(), *head.parameters()]
        with stage_outputs(on.model) as features:
            groups = [{"params": parameters, "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups, loss=loss, norm=self.norm)

    def _relationship(self, on: Tuning) -> Tensor:
        train, val = (Data(on.trainer.outputs(on.pretrained, d.x).softmax(-1), d.y) for d in (on.train, on.val))
        return (direct if self.relationship == "direct" else reverse)(train, val, on.task.outputs)


def direct(train: Data, _: Data, classes: int) -> Tensor:
    """p(y_s | y_t), (classes, source classes): the mean of the probabilities `train.x` over every target class."""
    members = torch.nn.functional.one_hot(train.y, classes).to(train.x.dtype)
    return members.T @ train.x / members.sum(0)[:, None].clamp_min(1)


def reverse(train: Data, val: Data, classes: int) -> Tensor:
    """The same from p(y_t | y_s) p(y_s), with p(y_s) the mean of the probabilities `train.x`."""

    def misfit(fit: tuple[Tensor, Tensor]) -> float:
        return float(torch.nn.functional.cross_entropy(val.x.double() @ fit[0].T + fit[1], val.y))

    weight, bias = min((fit_linear(train.x, train.y, classes, 10.0**power) for power in range(-2, 4)), key=misfit)
    joint = (weight + bias[:, None]).softmax(0) * train.x.double().mean(0)
    return (joint / joint.sum(1, keepdim=True)).to(train.x.dtype)
