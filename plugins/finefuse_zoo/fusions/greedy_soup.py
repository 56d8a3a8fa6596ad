"""Greedy soup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._task_vectors import train_inputs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GreedySoup:
    """Add members to the soup, best on val first, while it gets strictly better on val (Wortsman et al. 2022).

    2203.05482, recipe 1. Members of equal quality are tried in the order of the pool. `recalibrate` recomputes
    BatchNorm's statistics of every soup that is tried on the training inputs. Checked by replaying it by hand.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("val", "train", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("order",)
    many_tasks: ClassVar[bool] = False

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        ranked = sorted(of.members, key=lambda member: -member.score)
        nets.states_of(ranked)
        chosen, best, soup = ranked[:1], ranked[0].score, ranked[0].net
        for member in ranked[1:]:
            trial = [*chosen, member]
            net = nets.averaged(trial, [1 / len(trial)] * len(trial), train_inputs(of, self.recalibrate))
            score = nets.mean_quality(of, net)
            if score > best:
                chosen, best, soup = trial, score, net
        return soup
