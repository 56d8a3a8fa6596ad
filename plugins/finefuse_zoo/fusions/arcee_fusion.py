"""Arcee fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

EPSILON = 1e-8
"""What is added to probabilities, as in mergekit."""


@dataclass(frozen=True)
class ArceeFusion:
    """theta_0 + mean of those changes that stand out in importance, above median + `beyond` * quartile range.

    Arcee's method (2024, mergekit's `arcee_fusion`). The importance of a number in tau_m = theta_m - theta_0 is its
    magnitude times KL(softmax(row of theta_m), softmax(row of theta_0)); rows go over the last dimension, as there. The
    threshold belongs to a tensor, and what reaches it is kept. mergekit takes a base and one member; here the kept
    changes of several are averaged. One member is thinned too. `recalibrate` recomputes BatchNorm's statistics on the
    training inputs. Checked against mergekit, member by member.
    """

    beyond: Annotated[float, Ge(0)] = 1.5
    recalibrate: bool = True
    space: ClassVar[Space] = {"beyond": {"low": 0.0, "high": 4.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            start = base.double()
            kept = [self._standing_out(start, member.double()) for member in members]
            return (start + torch.stack(kept).mean(0)).to(base.dtype)

        return from_base(of, rule, train_inputs(of, self.recalibrate))

    def _standing_out(self, base: Tensor, member: Tensor) -> Tensor:
        p, q = (tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1) for tensor in (member, base))
        p, q = p.softmax(1) + EPSILON, q.softmax(1) + EPSILON
        divergence = (p * (p / q).log()).sum(1).view(*base.shape[:-1], *([1] if base.ndim else []))
        tau = member - base
        importance = tau.abs() * divergence
        ranked = importance.flatten().sort().values
        low, median, high = (ranked[int(share * (len(ranked) - 1))] for share in (0.25, 0.5, 0.75))
        return tau * (importance >= median + self.beyond * (high - low))
