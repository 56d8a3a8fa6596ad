"""WiSE-FT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import train_inputs, with_base

if TYPE_CHECKING:
    from torch import nn

GRID = tuple(i / 10 for i in range(11))


@dataclass(frozen=True)
class WiseFt:
    """theta = (1 - a) theta_0 + a theta_1, theta_1 the mean of the members (Wortsman et al. 2022, 2109.01903).

    `a = "val"` takes the best of 0, 0.1, ..., 1 on val, of equally good ones the nearest to 0.5. a = 0 is the base and
    a = 1 the soup, exactly; so a single member is returned unchanged with a = 1 only. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. Checked against the formula and by replaying the grid.
    """

    a: Annotated[float, Ge(0), Le(1)] | Literal["val"] = 0.5
    recalibrate: bool = True
    space: ClassVar[Space] = {"a": {"low": 0.0, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("val", "train", "base", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        if self.a != "val":
            return self._between(of, self.a)
        best = max(GRID, key=lambda a: (nets.mean_quality(of, self._between(of, a)), -abs(a - 0.5)))
        of.choices["a"] = best, best in (GRID[0], GRID[-1])
        return self._between(of, best)

    def _between(self, of: Fusing, a: float) -> nets.Net:
        share = a / len(of.members)
        weights, x = [1 - a, *[share] * len(of.members)], train_inputs(of, self.recalibrate)
        return nets.averaged(with_base(of), weights, x)
