"""Parameter competition balancing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import from_base, train_inputs, with_base

if TYPE_CHECKING:
    from torch import Tensor, nn

OUTLIERS = 1e-4
"""Share of the magnitudes that are moved to the border at either end."""


@dataclass(frozen=True)
class Pcb:
    """theta_0 + scaling * sum(w_m tau_m) / sum(w_m), w_m by how numbers compete (PCB-Merging, Du et al. 2024).

    2410.02396; tau_m = theta_m - theta_0, of the whole network. A number's score is exp(M s^2) tanh(tau_m sum tau), s
    its magnitude, scaled to [0, 1]: what is large within its member and agrees with the others. The share `k` with the
    highest scores is kept, and their scores, scaled to [0, 1], are w_m. Magnitudes are first moved inside the 0.01 % at
    either end. As the authors' program does it; their formulas have a softmax for either factor. Where no member is
    kept, the base is. `recalibrate` recomputes BatchNorm's statistics on the training inputs. Checked by brute force.
    """

    k: Annotated[float, Gt(0), Le(1)] = 0.2
    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 2.0}, "k": {"low": 0.02, "high": 0.5}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        start, *members = nets.states_of(with_base(of))
        own = nets.own_names(of.members[0].net)
        names = [name for name in dict.fromkeys(own.values()) if name in start]
        flat = [torch.cat([(one[name].double() - start[name].double()).flatten() for name in names]) for one in members]
        sizes = [start[name].numel() for name in names]
        moved = dict(zip(names, torch.split(self._balanced(torch.stack(flat)), sizes), strict=True))

        def rule(name: str, base: Tensor, _: list[Tensor]) -> Tensor:
            return (base.double() + self.scaling * moved[own[name]].view(base.shape)).to(base.dtype)

        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, self.scaling))

    def _balanced(self, tau: Tensor) -> Tensor:
        """One change (n,) of those of all members (members, n)."""
        count, n = tau.shape
        order = tau.abs().sort(dim=1).values
        low, high = order[:, int(n * OUTLIERS)], order[:, int(n * (1 - OUTLIERS) - 1)]
        size = tau.abs().clamp(low[:, None], high[:, None])
        del order
        scores = (count * _scaled(size).square()).exp_() * (tau * tau.sum(0)).tanh_()
        least = scores.sort(dim=1).values[:, int(n * (1 - self.k)), None]
        weights = _scaled(scores.clamp_(min=least))
        return (tau.sign() * size * weights).sum(0) / weights.sum(0).clamp_min(1e-12)


def _scaled(rows: Tensor) -> Tensor:
    """Every row (members, n) from 0 to 1; one without a range is 0."""
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    return (rows - low) / torch.where(high > low, high - low, torch.ones_like(high))
