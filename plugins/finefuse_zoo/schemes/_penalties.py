"""What schemes share that penalise weights: which ones, how far from where, and the proximal step of the 1-norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.types import Tuning


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """Matrices and kernels, without biases and without the scale and shift of norm layers."""
    return [p for p in model.parameters() if p.ndim > 1]


def starting_points(on: Tuning) -> dict[nn.Parameter, Tensor]:
    """Every parameter of the backbone with its pretrained value; what was added to the network has none."""
    known = dict(on.pretrained.stages.named_parameters())
    return {p: known[name].detach() for name, p in on.model.stages.named_parameters() if name in known}


def half_square(differences: Iterable[Tensor]) -> Tensor:
    """1/2 sum ||d||_2^2."""
    return 0.5 * torch.stack([d.square().sum() for d in differences]).sum()


def proximal_step(
    strength: float, centres: Mapping[nn.Parameter, Tensor | float]
) -> Callable[[torch.optim.Optimizer], None]:
    """The proximal step of strength ||w - centre||_1: w <- centre + S(w - centre, s strength), for `after_step`.

    S is the soft threshold, S(d, t) = sign(d) max(|d| - t, 0), and s the size of the step, so that training comes to
    rest at the minimum of the loss and the penalty, whatever the optimizer. Weights that reach their centre are equal
    to it in every bit.
    """

    @torch.no_grad()
    def step(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p in centres:
                    d, reach = p - centres[p], strength * step_size(optimizer, group, p)
                    p.copy_(torch.where(d.abs() <= reach, centres[p], p - reach * d.sign()))

    return step


def step_size(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], p: nn.Parameter) -> Tensor | float:
    """How far a lasting gradient of 1 moves a parameter per step, at the rate in force.

    lr / (1 - momentum) in SGD; lr / (sqrt(v) + eps) per weight in Adam (Yun et al. 2021, 2006.07065).
    """
    lr, state = group["lr"], optimizer.state.get(p, {})
    if "exp_avg_sq" in state:
        step = state["step"]
        taken = step.double() if step.is_cuda else float(step)  # what lies on a GPU is not waited for
        v = state["exp_avg_sq"] / (1 - group["betas"][1] ** taken)
        return lr / (v.sqrt() + group["eps"])  # type: ignore[no-any-return]
    return lr / (1 - group.get("momentum", 0.0))  # type: ignore[no-any-return]
