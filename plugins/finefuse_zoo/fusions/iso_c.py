"""Isotropic merging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._matrices import merged_matrices, total
from finefuse_zoo.fusions._singular import singular

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse_zoo.fusions._matrices import Taus


@dataclass(frozen=True)
class IsoC:
    """theta_0 + scaling * mean(S) U V', with U S V' the sum of all tau_m (Iso-C, Marczak et al. 2025, 2502.04959).

    tau_m = theta_m - theta_0. All singular values become their mean, except those that are 0, which have no
    directions. Convolutions are matrices (out, rest); of other tensors the mean of tau_m is taken. Even a single member
    is changed. `recalibrate` recomputes BatchNorm's statistics on the training inputs. Singular values below a
    millionth of the largest count as 0. Checked against fusion_bench.
    """

    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 3.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return merged_matrices(of, isotropic, self.scaling, self.recalibrate)


def isotropic(taus: Taus) -> Tensor:
    """The sum with equal singular values."""
    u, s, vh = singular(total(taus))
    return s.mean() * (u @ vh)
