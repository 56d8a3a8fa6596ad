"""Spherical interpolation of changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le

from finefuse import NotApplicable
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

PARALLEL = 1e-8


@dataclass(frozen=True)
class NuSlerp:
    """theta_0 + (sin((1-t) w) tau_1 + sin(t w) tau_2) / sin(w), w the angle between tau_1 and tau_2 (Goddard 2024).

    `slerp` (Shoemake 1985) of tau_m = theta_m - theta_0, as mergekit's `nuslerp` with a base. `by` "tensor" takes one
    angle for each tensor, "row" one for each output. Linear where tau_1 and tau_2 are parallel, or one is 0. `t` (None:
    0.5) is for two members. More are merged in turn, the m-th at t = 1/m, so their order matters. `recalibrate`
    recomputes BatchNorm's statistics on the training inputs. Checked against mergekit's `nuslerp`.
    """

    t: Annotated[float, Ge(0), Le(1)] | None = None
    by: Literal["tensor", "row"] = "tensor"
    recalibrate: bool = True
    space: ClassVar[Space] = {"t": {"low": 0.0, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("order",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)
        if self.t is not None and count > 2:
            raise NotApplicable(f"t = {self.t:g} is for two members, but there are {count}; leave it out")

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            rows = base.flatten(1).shape if self.by == "row" and base.ndim > 1 else (1, base.numel())
            start = base.double()
            tau = (members[0].double() - start).reshape(rows)
            for m, member in enumerate(members[1:], start=2):
                t = 1 / m if self.t is None else self.t
                tau = between(tau, (member.double() - start).reshape(rows), t)
            return (start + tau.reshape(base.shape)).to(base.dtype)

        return from_base(of, rule, train_inputs(of, self.recalibrate))


def between(one: Tensor, other: Tensor, t: float) -> Tensor:
    """Rows (rows, n) at `t` on the arcs from one to another."""
    lengths = one.norm(dim=1, keepdim=True) * other.norm(dim=1, keepdim=True)
    cos = torch.where(lengths > 0, (one * other).sum(1, keepdim=True) / lengths, torch.ones_like(lengths))
    angle = cos.clamp(-1, 1).acos()
    sin = angle.sin()
    flat = sin.abs() < PARALLEL
    sin = torch.where(flat, torch.ones_like(sin), sin)
    first = torch.where(flat, torch.full_like(sin, 1 - t), ((1 - t) * angle).sin() / sin)
    second = torch.where(flat, torch.full_like(sin, t), (t * angle).sin() / sin)
    return first * one + second * other
