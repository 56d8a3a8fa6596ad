"""Weighted soup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._member_weights import By, member_weights, tasks_of
from finefuse_zoo.fusions._task_vectors import train_inputs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WeightedSoup:
    """theta = sum_m w_m theta_m, with weights from the members' quality on val, or given (as in 2203.05482).

    `by` "accuracy": w in proportion to accuracy; "above-chance": to accuracy less 1/classes; "softmax": to exp(accuracy
    / temperature), in regression with minus the squared error for accuracy. None is "accuracy", and "softmax" in
    regression. `weights` (one per member) are scaled to sum to one. `recalibrate` recomputes BatchNorm's statistics on
    the training inputs. Checked against mergekit's `linear`; one-hot weights give that member.
    """

    by: By | None = None
    temperature: Annotated[float, Gt(0)] = 0.05
    weights: tuple[Annotated[float, Ge(0)], ...] | None = None
    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("val", "train")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        by = self.by or ("accuracy" if all(task.classes for task in tasks_of(of)) else "softmax")
        weights = member_weights(of, by, self.temperature, self.weights)
        x = train_inputs(of, self.recalibrate)
        return nets.averaged(of.members, weights, x)
