"""Stacking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.linear import fit_linear

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Stacking:
    """Multinomial logistic regression on the members' concatenated probabilities, fitted on val (Wolpert 1992).

    The members have not seen val, so that their outputs there are out of fold. In regression: ridge regression on
    their values.
    """

    C: Annotated[float, Gt(0)] = 1.0
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble with a linear model on top."""
        assert of.val is not None
        classes = of.task.outputs if of.task.kind == "classification" else 0

        def inputs(outputs: Tensor) -> Tensor:
            return torch.cat(list(outputs.softmax(-1) if classes else outputs), dim=-1)

        outputs = torch.stack([member.val_outputs for member in of.members])
        weight, bias = (t.to(outputs.dtype) for t in fit_linear(inputs(outputs), of.val.y, classes, self.C))
        return nets.CombineOutputs(of.members, lambda outputs: inputs(outputs) @ weight.T + bias)
