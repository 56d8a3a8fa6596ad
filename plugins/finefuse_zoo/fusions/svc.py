"""Singular value calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._singular import singular
from finefuse_zoo.fusions._statistics import renewed
from finefuse_zoo.fusions._task_vectors import train_inputs
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Svc:
    """A merge whose singular values are lowered where members were counted twice (Li et al. 2026, 2602.05536).

    With U S V' what was merged, less theta_0, and a_r = u_r' tau the response of a change along u_r, every S_r is
    multiplied by M / sum_m max(`strength`, <a_r of the merge, a_r of tau_m> / ||a_r of tau_m||^2), tau_m = theta_m -
    theta_0. Members that don't respond count as `strength`. A stage: it follows any merge of weights; by itself it
    follows task arithmetic at `scaling`. Convolutions are matrices (out, rest); other tensors keep what they are.
    `recalibrate` recomputes BatchNorm's statistics on the training inputs. fusion_bench projects each tau_m on its own
    singular vectors instead of the merge's. Checked by the formula, vector by vector.
    """

    strength: Annotated[float, Gt(0)] = 1.0
    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"strength": {"low": 0.5, "high": 2.0}, "scaling": {"low": 0.1, "high": 2.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return self.follow(TaskArithmetic(self.scaling, recalibrate=False).fuse(of), of)  # type: ignore[arg-type]

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        """The same network with smaller changes."""
        base, states = nets.base_state(of), nets.states_of(of.members)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name in base and parameter.ndim > 1:
                    start = base[name].flatten(1).double()
                    taus = (state[name].flatten(1).double() - start for state in states)
                    change = self._calibrated(parameter.flatten(1).double() - start, taus, len(states))
                    parameter.copy_((start + change).view(parameter.shape))
        return renewed(net, train_inputs(of, self.recalibrate))

    def _calibrated(self, merged: Tensor, taus: Iterator[Tensor], count: int) -> Tensor:
        u, s, vh = singular(merged)
        amplified = torch.zeros_like(s)
        for tau in taus:
            response = u.T @ tau
            squares = response.square().sum(1)
            along = s * (response * vh).sum(1)
            share = torch.where(squares > 0, along / squares, torch.zeros_like(s))
            amplified += share.clamp_min(self.strength)
        return u * (s * count / amplified) @ vh
