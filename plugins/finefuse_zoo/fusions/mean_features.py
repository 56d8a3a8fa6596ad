"""Mean of projected features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Law, Level, Need, Space

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MeanFeatures:
    """head(sum_m w_m A_m h_m): weights, projections to the widest member's width and a head, learned on top of members.

    They start from w_m = 1/M or the given `weights`, A_m = I (padded with zeros where a member is narrower) and the
    members' heads averaged with w, and are trained on the training features by `steps` of Adam at `lr` on all examples
    at once; None uses the whole budget. With no steps and one-hot weights it is that member; what is learned makes more
    of even one member. Checked so, and against a plain loop.
    """

    weights: tuple[float, ...] | None = None
    steps: Annotated[int, Ge(0)] | None = None
    lr: Annotated[float, Gt(0)] = 1e-2
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.1, "log": True}}
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
        weights = self.weights or (1 / len(members),) * len(members)
        if len(weights) != len(members):
            raise NotApplicable(f"{len(weights)} weights were given for {len(members)} members")
        features = [of.trainer.features(net, of.train.x) for net in members]
        top = feature_heads.OnMean([net.head for net in members], torch.tensor(weights))
        steps = of.trainer.budget if self.steps is None else self.steps
        feature_heads.train_full_batch(top, features, of.train.y, of.task, steps, self.lr)
        return nets.CombineFeatures(members, top)
