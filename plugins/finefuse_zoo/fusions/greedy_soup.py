"""Greedy soup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GreedySoup:
    """Add members to the soup, best on val first, while it gets strictly better on val (Wortsman et al. 2022).

    2203.05482, recipe 1. Members of equal quality are tried in the order of the pool. `recalibrate` renews BatchNorm's
    statistics of every soup that is tried from the training inputs. Checked by replaying it by hand.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("val", "train", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("order",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        assert of.val is not None
        assert of.train is not None
        assert of.trainer is not None
        ranked = sorted(of.members, key=lambda member: -member.score)
        nets.states_of(ranked)
        chosen, best, soup = ranked[:1], ranked[0].score, ranked[0].net
        for member in ranked[1:]:
            trial = [*chosen, member]
            net = nets.averaged(trial, [1 / len(trial)] * len(trial), of.train.x if self.recalibrate else None)
            score = of.task.quality(of.trainer.outputs(net, of.val.x), of.val)
            if score > best:
                chosen, best, soup = trial, score, net
        return soup
