"""Weights of members from how good they are on val."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Task

By = Literal["accuracy", "above-chance", "softmax"]


def member_weights(of: Fusing, by: By, temperature: float, given: Sequence[float] | None) -> list[float]:
    """One weight per member, summing to one: the given ones, scaled, or by accuracy on val.

    "accuracy": in proportion to it; "above-chance": to accuracy less 1/classes; "softmax": to exp(accuracy /
    temperature), in regression with minus the squared error for accuracy.

    Raises:
        NotApplicable: if there is another number of weights than members, their sum isn't positive and finite, or there
            is no accuracy.
    """
    if given is not None:
        if len(given) != len(of.members):
            raise NotApplicable(f"{len(given)} weights were given for {len(of.members)} members")
        w = torch.tensor(given, dtype=torch.float64)
    else:
        score = torch.tensor([member.score for member in of.members], dtype=torch.float64)
        if by == "softmax":
            w = (score / temperature).softmax(0)
        elif unlike := [task.kind for task in tasks_of(of) if not task.classes]:
            raise NotApplicable(f"by = {by!r} needs accuracies, and {unlike[0]} has none; use by = 'softmax'")
        else:
            chance = torch.tensor([1 / task.classes for task in tasks_of(of)], dtype=torch.float64)
            w = score if by == "accuracy" else (score - chance).clamp_min(0)
    if not w.sum() > 0:
        raise NotApplicable("no member has a positive weight")
    if not w.sum().isfinite():
        raise NotApplicable(f"the weights must have a finite sum, and they are {w.tolist()}")
    weights: list[float] = (w / w.sum()).tolist()
    return weights


def tasks_of(of: Fusing) -> list[Task]:
    """The task of each member."""
    if nets.share_a_task(of.members):
        return [of.task] * len(of.members)
    return [member.task for member in of.members]
