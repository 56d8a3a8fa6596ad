"""Stacking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Gt, MinLen

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.linear import fit_linear, fit_ridge

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Stacking:
    """Multinomial logistic regression on the members' concatenated probabilities, fitted on val (Wolpert 1992).

    doi 10.1016/S0893-6080(05)80023-1. The members have not seen val, so that their outputs there are out of fold. `C`
    is the inverse of the penalty. In regression: ridge regression on their values, with that of the penalties `alphas`
    whose leave-one-out error on val is smallest. Checked against scikit-learn's `StackingClassifier(cv="prefit")`,
    which for two classes fits one row of weights on one probability of each member, so that its C is 4 times ours, and
    `StackingRegressor(cv="prefit")` with `RidgeCV`.
    """

    C: Annotated[float, Gt(0)] = 1.0
    alphas: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.1, 1.0, 10.0)
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble with a linear model on top."""
        classes = of.task.classes

        def inputs(outputs: Tensor) -> Tensor:
            return torch.cat(list(outputs.softmax(-1) if classes else outputs), dim=-1)

        x = inputs(torch.stack([member.val_outputs for member in of.members]))
        weight, bias = fit_linear(x, of.val.y, classes, self.C) if classes else fit_ridge(x, of.val.y, self.alphas)
        return nets.CombineOutputs(
            of.members, lambda outputs: inputs(outputs) @ weight.T.to(outputs) + bias.to(outputs)
        )
