"""Task arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class TaskArithmetic:
    """theta = theta_0 + scaling * sum_m tau_m, tau_m = theta_m - theta_0 (Ilharco et al. 2023, 2212.04089).

    `scaling` 0 gives the base exactly; one member gives the member with `scaling` 1 only. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. The paper calls `scaling` lambda. Checked against mergekit's
    `task_arithmetic`.
    """

    scaling: Annotated[float, Ge(0)] = 0.3
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.05, "high": 1.5}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            return nets.weighted_sum([base, *members], [1 - self.scaling * count, *[self.scaling] * count])

        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, self.scaling * count))
