"""Isotropic merging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._singular import singular
from finefuse_zoo.fusions._task_vectors import from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


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
        count = len(of.members)

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            if base.ndim < 2:
                return nets.weighted_sum([base, *members], [1 - self.scaling, *[self.scaling / count] * count])
            start = base.flatten(1).double()
            u, s, vh = singular(sum((member.flatten(1).double() - start for member in members), start * 0))
            return (start + self.scaling * s.mean() * (u @ vh)).to(base.dtype).view(base.shape)

        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, self.scaling))
