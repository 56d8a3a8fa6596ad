"""Model stitching."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._stitch import adapter

if TYPE_CHECKING:
    from torch import nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class Splice:
    """The lower stages of the first member, the upper ones and the head of the second, an adapter between.

    Model stitching (Bansal et al. 2021, arXiv 2106.07682). The adapter, a 1x1 convolution on maps (N, C, H, W) and a
    linear layer on all that has the channels last, takes the first member's activations nearest to the second's on the
    training inputs, by least squares (Csiszarik et al. 2021, arXiv 2110.14633). `at` is how many stages come from the
    first, "middle" half of each member's own; the adapter ends the last of them. Members beyond the second are left
    out; a single member is joined to itself, which changes nothing. Which is first matters. Where the channels are, (N,
    C, H, W) or (N, H, W, C) as in Swin, is taken from the layers that read and write the maps. `skipped` where feature
    maps differ in more than their channels. Checked against `numpy.linalg.lstsq`; the same member twice gives exactly
    that member.
    """

    at: Literal["middle"] | Annotated[int, Ge(1)] = "middle"
    level: ClassVar[Level] = "feature"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    except_for: ClassVar[tuple[Law, ...]] = ("order",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        one, two = of.members[0].net, of.members[min(1, len(of.members) - 1)].net
        after_one, after_two = self._cut(one), self._cut(two)
        between = adapter(one, after_one, two, after_two, of.train)
        one, two = copy.deepcopy(one), copy.deepcopy(two)
        *stages, last = one.stages[:after_one]
        parts = list(last) if isinstance(last, torch.nn.Sequential) else [last]
        joined = [*stages, torch.nn.Sequential(*parts, between), *two.stages[after_two:]]
        return nets.Net(joined, two.head, two.recipe).eval()

    def _cut(self, net: Net) -> int:
        count = len(net.stages)
        if self.at == "middle":
            return max(1, count // 2)
        if self.at > count:
            raise NotApplicable(f"at = {self.at}, but a member has only {count} stages")
        return self.at
