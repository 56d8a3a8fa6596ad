"""Uniform soup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._task_vectors import train_inputs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Soup:
    """theta = 1/M sum_m theta_m: the mean of the members' weights (Wortsman et al. 2022, 2203.05482).

    `recalibrate` recomputes BatchNorm's statistics on the training inputs. Checked against the mean of the state dicts.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        weights = [1 / len(of.members)] * len(of.members)
        return nets.averaged(of.members, weights, train_inputs(of, self.recalibrate))
