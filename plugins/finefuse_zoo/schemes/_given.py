"""Reading networks that were tuned elsewhere into the backbone, and how far they lie from it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING

from finefuse import FinefuseError
from finefuse.types import Tuning
from finefuse_zoo.backbones import _weights
from finefuse_zoo.backbones._state_dicts import some

if TYPE_CHECKING:
    from finefuse.nets import Net


def network(on: Tuning, file: Path, key: str | None, *, head: bool) -> Net:
    """The network with the weights in a file, by the backbone's own names, or finefuse's; `head` if its head too.

    Raises:
        FinefuseError: if the file is damaged, or doesn't fit.
    """
    if on.read is not None:
        return on.read(file, key, head)
    net = copy.deepcopy(on.model)
    state = _weights.read(file, net, key)
    _weights.fit(net, state, f"{file}, as weights of the backbone,", () if head else ("head.",))
    return net


def refuse_other_base(on: Tuning, who: Path, base: Path, key: str | None) -> None:
    """Nothing, if the body in `base` is the one that the backbone starts from, to the last bit.

    Raises:
        FinefuseError: else; it names the tensors that differ.
    """
    given, own = network(on, base, key, head=False).stages.state_dict(), on.pretrained.stages.state_dict()
    if other := [f"stages.{name}" for name, tensor in own.items() if not tensor.equal(given[name])]:
        what = f"{who.name} was tuned from {base.name}, and the backbone starts from other weights"
        raise FinefuseError(f"{what}: {len(other)} of {len(own)} tensors differ ({some(other)})")


def distance(net: Net, base: Net) -> float:
    """Between the parameters of two bodies, over the norm of those of `base`; NaN where that is 0."""
    pairs = list(zip(net.stages.parameters(), base.stages.parameters(), strict=True))
    apart = sum(float((a.detach().double() - b.detach().double()).square().sum()) for a, b in pairs)
    size = sum(float(b.detach().double().square().sum()) for _, b in pairs)
    return math.sqrt(apart / size) if size else math.nan
