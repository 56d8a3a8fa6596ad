"""Git Re-Basin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import matching, nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._task_vectors import train_inputs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GitRebasin:
    """The mean of the weights, with the units of all members in the order of the first (Ainsworth et al. 2023).

    2209.04836, weight matching: units of hidden layers are permuted, which doesn't change a network's function, to make
    weights as similar as possible. For networks of linear and convolutional layers, BatchNorm, pooling and shortcuts;
    not for attention. The first member sets the order. `recalibrate` recomputes BatchNorm's statistics on the training
    inputs. Which axes belong together is read off one forward pass. Networks with attention, concatenation or grouped
    convolutions are `skipped`, with the operation that prevents it. Checked: planted permutations are found again,
    exactly.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    except_for: ClassVar[tuple[Law, ...]] = ("order",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        members = matching.aligned(of)
        return nets.averaged(members, [1 / len(members)] * len(members), train_inputs(of, self.recalibrate))
