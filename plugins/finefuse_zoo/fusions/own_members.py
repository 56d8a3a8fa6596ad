"""Each task's own member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from finefuse.types import Member


@dataclass(frozen=True)
class OwnMembers:
    """For every task its own members answer: one network each, or the mean of several of one task.

    It merges nothing and scores what the members do, at the size of all of them: what a merge is to be held against in
    parameters. Means are those of `mean-probs`, in regression of `mean`. Checked against the members' own outputs.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()
    many_tasks: ClassVar[bool] = True

    def fuse(self, of: Fusing) -> nn.Module:
        """The members, by task."""
        if nets.share_a_task(of.members):
            return _together(of.members)
        networks = [(group, _together(group)) for group in nets.by_task(of.members)]
        return nets.ByTask({member.name: network for group, network in networks for member in group})


def _together(members: Sequence[Member]) -> nets.CombineOutputs:
    if len(members) == 1:
        return nets.CombineOutputs(members, lambda outputs: outputs[0])
    return nets.CombineOutputs(members, members[0].task.averaged)
