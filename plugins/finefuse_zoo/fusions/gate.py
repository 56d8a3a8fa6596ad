"""A learned gate over the members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Gate:
    """p = sum_m softmax(g(phi(x)))_m p_m: for each input its own weights (mixture of experts, Jacobs et al. 1991).

    doi 10.1162/neco.1991.3.1.79. phi(x) are the members' features side by side and g is a perceptron with `hidden`
    units, trained on val by `steps` of AdamW, all of val at a time; the members stay as they are. In regression the
    weights are those of values. Which hidden unit starts where depends on the order of the members. It starts at equal
    weights. Checked: without steps it is `mean-probs`, a one-hot gate gives that member.
    """

    hidden: Annotated[int, Ge(1)] = 16
    steps: Annotated[int, Ge(0)] = 100
    lr: Annotated[float, Gt(0)] = 0.01
    weight_decay: Annotated[float, Ge(0)] = 0.01
    level: ClassVar[Level] = "feature"
    needs: ClassVar[tuple[Need, ...]] = ("val", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("order",)

    def own_gradients(self, of: Fusing) -> int:  # noqa: ARG002
        """A gate is learned, and no network tuned."""
        return self.steps

    def fuse(self, of: Fusing) -> nn.Module:
        """The members with a gate on top."""
        from finefuse_zoo.fusions import _gating as gating

        members = [member.net for member in of.members]
        features = [of.trainer.features(net, of.val.x) for net in members]
        gate = gating.Gate([net.head for net in members], features, self.hidden, of.task, of.rng)
        gate.learn(features, of.val.y, self.steps, self.lr, self.weight_decay)
        return nets.CombineFeatures(members, gate)
