"""Model extrapolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import train_inputs, with_base

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Expo:
    """theta = theta_1 + a (theta_1 - theta_0), theta_1 the mean of the members (ExPO, Zheng et al. 2024, 2404.16792).

    Beyond the members, where `wise-ft` stays between them and the base. a = 0 is the soup, exactly. The paper takes 0.1
    to 0.5, chosen on val. Running statistics are the members' mean; `recalibrate` recomputes them on the training
    inputs. Checked against the formula.
    """

    a: Annotated[float, Ge(0)] = 0.3
    recalibrate: bool = True
    space: ClassVar[Space] = {"a": {"low": 0.0, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)
        weights = [-self.a, *[(1 + self.a) / count] * count]
        means = [0.0, *[1 / count] * count]
        x = train_inputs(of, self.recalibrate)
        return nets.merged(with_base(of), lambda _, tensors: nets.weighted_sum(tensors, weights), x, means)
