"""Spherical interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import gram, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

NEARLY_PARALLEL = 0.9995


@dataclass(frozen=True)
class Slerp:
    """sin((1-t) w)/sin(w) theta_1 + sin(t w)/sin(w) theta_2 per tensor, w the angle between them (Shoemake 1985).

    Linear where abs(cos w) > 0.9995 or a tensor is 0. `t` (None: 0.5) is for two members. More are merged in turn, the
    m-th at t = 1/m, so their order matters; `karcher` is the mean that doesn't depend on it. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. Doi 10.1145/325165.325242. Checked against mergekit's `slerp`.
    """

    t: Annotated[float, Ge(0), Le(1)] | None = None
    recalibrate: bool = True
    space: ClassVar[Space] = {"t": {"low": 0.0, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    except_for: ClassVar[tuple[Law, ...]] = ("order",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)
        if self.t is not None and count > 2:
            raise NotApplicable(f"t = {self.t:g} is for two members, but there are {count}; leave it out")
        weights = [1 / count] * count if self.t is None or count == 1 else [1 - self.t, self.t]

        def rule(_: str, tensors: list[Tensor]) -> Tensor:
            out = tensors[0]
            for m, tensor in enumerate(tensors[1:], start=2):
                out = slerp(out, tensor, 1 / m if self.t is None else self.t)
            return out

        return nets.merged(of.members, rule, train_inputs(of, self.recalibrate), weights)


def slerp(one: Tensor, other: Tensor, t: float) -> Tensor:
    """The point at `t` on the arc from one tensor to another."""
    (square, product), (_, other_square) = gram([one, other]).tolist()
    lengths = (square * other_square) ** 0.5
    cos = product / lengths if lengths > 0 else 1.0
    if abs(cos) > NEARLY_PARALLEL:
        return nets.weighted_sum([one, other], [1 - t, t])
    angle = math.acos(cos)
    shares = [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]
    return nets.weighted_sum([one, other], shares)
