"""Concatenated features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.linear import fit_linear

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ConcatFeatures:
    """A new head on [h_1; ...; h_M], the members' features side by side, fitted on the training data.

    `head` "linear": multinomial logistic regression at its optimum, 1/2 ||W||^2 + C sum_i CE(W h_i + b, y_i), or ridge
    regression, as in `linear-probe`. "mlp": one hidden layer of `width` on standardised features, trained by `steps` of
    Adam at `lr` on all examples at once; None uses the whole budget. Its random start makes the order of members
    matter. Members may be of different architectures. A new head differs from the member's own. Checked against
    scikit-learn's `LogisticRegression` on `np.hstack`.
    """

    head: Literal["linear", "mlp"] = "linear"
    C: Annotated[float, Gt(0)] = 1.0
    width: Annotated[int, Ge(1)] = 64
    steps: Annotated[int, Ge(0)] | None = None
    lr: Annotated[float, Gt(0)] = 1e-2
    space: ClassVar[Space] = {"C": {"low": 1e-3, "high": 1e3, "log": True}}
    level: ClassVar[Level] = "feature"
    needs: ClassVar[tuple[Need, ...]] = ("train", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def own_gradients(self, of: Fusing) -> int:  # noqa: ARG002
        """As many as are asked for; by default they are the budget's."""
        return self.steps or 0

    def fuse(self, of: Fusing) -> nn.Module:
        """The members' stages with one head; their own heads are dropped."""
        from finefuse_zoo.fusions import _feature_heads as feature_heads

        members = [member.net for member in of.members]
        features = torch.cat([of.trainer.features(net, of.train.x) for net in members], -1)
        head: nn.Module
        if self.head == "mlp":
            steps = of.trainer.budget if self.steps is None else self.steps
            head = feature_heads.fitted_mlp(features, of.train.y, of.task, self.width, steps, self.lr, of.rng)
        else:
            head = feature_heads.linear(*fit_linear(features, of.train.y, of.task.classes, self.C))
        return nets.CombineFeatures(members, feature_heads.OnConcatenated(head))
