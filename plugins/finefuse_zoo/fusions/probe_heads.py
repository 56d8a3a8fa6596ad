"""Heads fitted to a merged body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from annotated_types import Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.linear import fit_linear

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ProbeHeads:
    """The head of each task fitted anew to the features of the merged body, as `linear-probe` does.

    A stage: it follows a fusion, which changes the features under heads that were tuned with others. Minimises
    1/2 ||W||^2 + C sum_i CE(W h(x_i) + b, y_i) on each task's training data, in regression with half the squared error;
    the body stays as it is. By itself it follows the mean of the members' weights. Checked against scikit-learn's
    `LogisticRegression`.
    """

    C: Annotated[float, Gt(0)] = 1.0
    space: ClassVar[Space] = {"C": {"low": 1e-3, "high": 1e3, "log": True}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "trainer")
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return self.follow(
            nets.averaged(of.members, [1 / len(of.members)] * len(of.members), nets.train_inputs(of)), of
        )

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        """The same network with other heads."""
        heads: Any = net.heads if isinstance(net, nets.ManyHeads) else {}
        for group in nets.by_task(of.members):
            one, first = nets.for_task(net, group), group[0]
            features = of.trainer.features(one, first.train.x)  # type: ignore[arg-type]
            weight, bias = fit_linear(features, first.train.y, first.task.classes, self.C)
            with torch.no_grad():
                for head in [heads[member.name] for member in group] if heads else [net.head]:
                    head.weight.copy_(weight)
                    head.bias.copy_(bias)
        return net
