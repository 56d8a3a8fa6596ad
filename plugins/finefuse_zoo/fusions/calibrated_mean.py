"""Mean of calibrated probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need

if TYPE_CHECKING:
    from torch import Tensor, nn

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class CalibratedMean:
    """p = 1/M sum_m softmax(z_m / T_m), T_m = argmin NLL on val, between 0.05 and 20 (Guo et al. 2017, 1706.04599).

    A class with the logit -inf has no probability at any T; an example whose right class is one says nothing of T, and
    T is 1 where none does. One member, or equal ones, give the member's classes, but calibrated probabilities.
    Classification only. Checked against a fine grid.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages probabilities at each member's temperature."""
        sharpness = sharpest(torch.stack([member.val_outputs for member in of.members]), of.val.y)[:, None, None]

        def combine(outputs: Tensor) -> Tensor:
            return nets.log_probs((outputs * sharpness.to(outputs)).softmax(-1).mean(0))

        return nets.CombineOutputs(of.members, combine)


def sharpest(outputs: Tensor, y: Tensor) -> Tensor:
    """1/T (members,) of least NLL, which is convex in it: Newton's steps, and halving where they leave the bracket."""
    z = outputs.double()
    possible = z.gather(-1, y.expand(len(z), -1)[..., None]) > -math.inf
    z = z.where(possible, 0.0)  # equal logits: the NLL is the same at any temperature
    finite = z.masked_fill(z == -math.inf, 0.0)
    right = z.gather(-1, y.expand(len(z), -1)[..., None]).sum((1, 2))
    low, high = torch.full_like(right, 1 / HOTTEST), torch.full_like(right, 1 / COLDEST)
    s = torch.ones_like(right)
    for _ in range(100):
        p = (s[:, None, None] * z).softmax(-1)
        mean = (p * finite).sum(-1)
        slope, bend = mean.sum(1) - right, ((p * finite.square()).sum(-1) - mean.square()).sum(1)
        low, high = torch.where(slope < 0, s, low), torch.where(slope < 0, high, s)
        newton = torch.where(slope == 0, s, s - slope / bend)  # a flat NLL bends nowhere
        before, s = s, torch.where((newton >= low) & (newton <= high), newton, (low * high).sqrt())
        if ((s - before).abs() <= 1e-9 * s).all():
            break
    return s
