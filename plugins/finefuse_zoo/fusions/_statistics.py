"""BatchNorm's statistics of networks that are fused already."""

from __future__ import annotations

from collections.abc import Mapping

from finefuse import nets


def renewed(net: nets.Net, x: nets.Inputs) -> nets.Net:
    """The network with statistics recomputed on inputs, of several tasks on one set or by name; None changes nothing.

    A `ManyHeads` gets the policy that the inputs stand for, whatever it had.
    """
    if x is None:
        return net
    if isinstance(net, nets.ManyHeads):
        net = nets.ManyHeads(net, net.heads, "per-task" if isinstance(x, Mapping) else "shared").eval()
    nets.recalibrate(net, x)
    return net
