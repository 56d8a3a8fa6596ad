"""Merging of task singular vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._matrices import merged_matrices
from finefuse_zoo.fusions._singular import polar, singular

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class TsvM:
    """theta_0 + scaling * U S V', U and V the members' first singular vectors, made orthogonal (2412.00081).

    TSV-Merge (Gargiulo et al. 2025). Of each tau_m = theta_m - theta_0 the first rank/M singular vectors are put side
    by side, and U and V replaced by the nearest matrices with orthonormal columns. Convolutions are matrices (out,
    rest); other tensors are averaged. Equal members lose their smaller singular values. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. Checked against fusion_bench.
    """

    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 3.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("equal members",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)
        return merged_matrices(of, lambda taus: merged_vectors(taus(), count), self.scaling, self.recalibrate)


def merged_vectors(taus: Iterable[Tensor], count: int) -> Tensor:
    """One matrix of the first singular vectors of `count` matrices of one shape, of which one is held at a time."""
    parts = [_first(tau, max(1, min(tau.shape) // count)) for tau in taus]
    u, vh = torch.cat([u for u, _, _ in parts], dim=1), torch.cat([vh for _, _, vh in parts])
    sizes = torch.cat([s for _, s, _ in parts])
    parts.clear()  # not needed while the others are made orthogonal
    return polar(u) * sizes @ polar(vh)


def _first(tau: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = singular(tau)
    return u[:, :rank].clone(), s[:rank].clone(), vh[:rank].clone()  # no views, which would keep the rest
