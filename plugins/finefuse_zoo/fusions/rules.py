"""Fixed rules for combining probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, ClassVar

import torch

from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._ensembles import by_rule

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Product:
    """p ~ prod_m p_m: as if the members' errors were independent (Kittler et al. 1998, doi 10.1109/34.667881).

    Equal members give their classes, with more certainty than each. These are the classes of `mean-logits`, with M
    times the certainty. Classification only. Computed with logarithms and renormalised, as `max`, `min` and `median`
    are; all four are checked against DESlib's.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    except_for: ClassVar[tuple[Law, ...]] = ("equal members",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that multiplies probabilities."""
        return by_rule(of, lambda p: p.sum(0))


@dataclass(frozen=True)
class Max:
    """p ~ max_m p_m (Kittler et al. 1998, doi 10.1109/34.667881); in regression the largest value."""

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that takes the largest of each."""
        return by_rule(of, lambda p: p.amax(0))


@dataclass(frozen=True)
class Min:
    """p ~ min_m p_m: each may veto (Kittler et al. 1998, doi 10.1109/34.667881); in regression the smallest value."""

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that takes the smallest of each."""
        return by_rule(of, lambda p: p.amin(0))


@dataclass(frozen=True)
class Median:
    """p ~ median_m p_m, of an even number the mean of the middle two (Kittler et al. 1998); in regression of values.

    doi 10.1109/34.667881.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that takes the median of each."""

        def middle(values: Tensor) -> Tensor:
            ordered = values.sort(0).values
            low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
            return torch.logaddexp(low, high) - log(2) if of.task.classes else (low + high) / 2

        return by_rule(of, middle)
