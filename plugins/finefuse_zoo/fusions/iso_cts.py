"""Isotropic merging with directions of each task's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Le

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._matrices import merged_matrices, total
from finefuse_zoo.fusions._singular import polar, singular

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse_zoo.fusions._matrices import Taus


@dataclass(frozen=True)
class IsoCts:
    """theta_0 + scaling * mean(S) U V', U and V of what is common and of each task's own (Marczak et al. 2025).

    Iso-CTS, 2502.04959. The `common` share of the sum's singular vectors is kept; the places of the others are divided
    among the members, each of which gives the first singular vectors of its tau_m = theta_m - theta_0 without the
    common directions. U and V are replaced by the nearest matrices with orthonormal columns, and all singular values by
    their mean. The number of places that are divided is rounded to a multiple of the members, of which all have room.
    Convolutions are matrices (out, rest); of other tensors the mean of tau_m is taken. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. `common` 1 is `iso-c`. Checked against fusion_bench.
    """

    common: Annotated[float, Ge(0), Le(1)] = 0.8
    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 3.0}, "common": {"low": 0.1, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)
        return merged_matrices(of, lambda taus: self._directions(taus, count), self.scaling, self.recalibrate)

    def _directions(self, taus: Taus, count: int) -> Tensor:
        u, s, vh = singular(total(taus))
        own = min(round((len(s) - int(len(s) * self.common)) / count), len(s) // count)
        shared = len(s) - own * count
        parts = [(u[:, :shared], s[:shared], vh[:shared])]
        for tau in taus() if own else ():
            tau -= parts[0][0] @ (parts[0][0].T @ tau)
            left, sizes, right = singular(tau)
            parts.append((left[:, :own].clone(), sizes[:own].clone(), right[:own].clone()))
        left, right = torch.cat([one for one, _, _ in parts], dim=1), torch.cat([one for _, _, one in parts])
        return torch.cat([one for _, one, _ in parts]).mean() * (polar(left) @ polar(right))
