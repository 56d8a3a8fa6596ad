"""Consensus merging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import blockwise, from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Consensus:
    """theta_0 + scaling * sum of tau_m, where it matters to `agree` members or more (Wang et al. 2024, 2405.07813).

    A number matters to a member where abs(tau_m) > `strictness` * abs(sum of all - tau_m), its TALL mask; tau_m =
    theta_m - theta_0. `agree` 2 leaves out what matters to one member only, and to none; where there are fewer members,
    all of them. The paper chooses `strictness`, its lambda, for each task on val from 0.2 to 0.6. `recalibrate`
    recomputes BatchNorm's statistics on the training inputs. Checked against fusion_bench's masks, and number by
    number.
    """

    agree: Annotated[int, Ge(1)] = 2
    strictness: Annotated[float, Gt(0)] = 0.4
    scaling: Annotated[float, Ge(0)] = 0.3
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.05, "high": 1.5}, "strictness": {"low": 0.1, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        least = min(self.agree, len(of.members))

        def combine(start: Tensor, tau: Tensor) -> Tensor:
            total = tau.sum(0)
            matters = tau.abs() > self.strictness * (total - tau).abs()
            return start.add_(total * (matters.sum(0) >= least), alpha=self.scaling)

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            return blockwise(base, members, combine)

        share = self.scaling * len(of.members)
        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, share))
