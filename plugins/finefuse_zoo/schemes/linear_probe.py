"""Logistic (or ridge) regression on the features of a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from finefuse.types import Space, Tuning
from finefuse_zoo.linear import fit_linear


@dataclass(frozen=True)
class LinearProbe:
    """Fit the head to convergence on features of the frozen backbone (Newton's method, float64).

    Minimises 1/2 ||W||^2 + C sum_i CE(W f(x_i) + b, y_i) with b unpenalised, the objective of scikit-learn's
    LogisticRegression; in regression 1/2 ||W||^2 + C/2 sum_i ||W f(x_i) + b - y_i||^2. It takes no optimizer steps from
    the budget. Checked against scikit-learn's `LogisticRegression` and `Ridge`.
    """

    C: Annotated[float, Gt(0)] = 1.0
    space: ClassVar[Space] = {"C": {"low": 1e-3, "high": 1e3, "log": True}}
    takes_steps: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def tune(self, on: Tuning) -> None:
        """Replace the head's weights by the optimum."""
        features = on.trainer.features(on.model, on.train.x)
        weight, bias = fit_linear(features, on.train.y, on.task.classes, self.C)
        with torch.no_grad():
            on.model.head.weight.copy_(weight)
            on.model.head.bias.copy_(bias)
