"""Learning rates by relative gradient norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._stages import parts_of
from finefuse_zoo.schemes._steps import Gradients, stepping_by

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


@dataclass(frozen=True)
class AutoRgn:
    """lr_l = lr * r_l / max_k r_k, r_l = ||g_l|| / ||w_l||: Auto-RGN (Lee et al. 2022, 2210.11466).

    In every step each stage l, and the head, learns faster the larger its gradient is relative to its weights. Apart
    from this it is `full`. Checked against the formula.
    """

    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, one group per stage, whose rates are set between gradient and step."""
        parts, recipe = parts_of(on.model, "auto-rgn"), on.model.recipe
        groups = [{"params": part.parameters(), "lr": self.lr or recipe.lr} for part in parts]
        on.trainer.fit(on.model, groups, optimizer=stepping_by(scaled, recipe), norm=self.norm)


def scaled(optimizer: Optimizer, gradients: Gradients) -> Tensor:
    """The plain gradients, and the groups' rates of this step by them; the schedule sets those of the next anew."""
    loss = gradients()
    ratios = torch.stack([relative_gradient(group["params"]) for group in optimizer.param_groups])
    if ratios.is_cuda:  # fused optimizers take rates that lie there, so that the host doesn't wait for them
        largest = ratios.max()
        shares: Sequence[Tensor | float] = (ratios / torch.where(largest > 0, largest, 1.0)).unbind()
    else:
        known = ratios.tolist()
        shares = [ratio / (max(known) or 1.0) for ratio in known]
    for group, share in zip(optimizer.param_groups, shares, strict=True):
        group["lr"] = share * group["lr"]
    return loss


def relative_gradient(parameters: Sequence[Tensor]) -> Tensor:
    """||g|| / ||w|| over all of these together; weights of 0 count as tiny."""
    norm = torch.nn.utils.get_total_norm
    gradient, weight = norm([p.grad for p in parameters if p.grad is not None]), norm([p.detach() for p in parameters])
    return gradient / weight.clamp_min(1e-12)
