"""The leading stages in which nothing is trained: whether they can be evaluated apart from the rest, and once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from finefuse.nets import CombineFeatures, Net

CLOSE = 1e-2
"""How far, as a share of the largest number, what comes out for an example may depend on those beside it."""
METHODS = ("__call__", "forward", "features")


def frozen_stages(model: nn.Module, tuned: set[int]) -> int:
    """How many stages come before the first that is trained, if going through them one by one is all the network does.

    It is not where a subclass, or this object, has its own `forward` or `features`, or the network has hooks.
    """
    if not isinstance(model, Net) or not goes_by_stages(model):
        return 0
    trained = [any(id(p) in tuned for p in stage.parameters()) for stage in model.stages]
    return trained.index(True) if True in trained else len(trained)


def goes_by_stages(model: Net) -> bool:
    """Whether the network has no code or hooks of its own: then going through its stages and head is all it does."""
    return not any(getattr(type(model), name) is not getattr(Net, name) for name in METHODS) and _bare(model, METHODS)


def concatenates(model: CombineFeatures) -> bool:
    """Whether the fusion of features does no more than to go through its bodies, and combine what they give."""
    bodies = all(type(body) is nn.Sequential and _bare(body) for body in model.bodies)
    return type(model) is CombineFeatures and bodies and _bare(model)


def _bare(module: nn.Module, methods: Sequence[str] = ("forward",)) -> bool:
    """Whether a module object has no methods and hooks of its own."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return not any(hooks) and vars(module).keys().isdisjoint(methods)


def by_example(prefix: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
    """What comes out for the first example of `x`; None unless it is a row of a tensor, whatever stands beside it.

    What is no row can't be cached: a tuple, a tensor whose first dimension is not the batch, or one in which examples
    depend on each other.
    """
    one, two = prefix(x[:1]), prefix(x[:2])
    if not isinstance(one, Tensor) or not isinstance(two, Tensor) or len(one) != 1 or len(two) != len(x[:2]):
        return None
    if one.shape[1:] != two.shape[1:]:
        return None
    alone, beside = one.float(), two[:1].float()
    near = float(alone.abs().nan_to_num().max()) * CLOSE if alone.numel() else 0.0
    return one if torch.allclose(alone, beside, rtol=0.0, atol=near, equal_nan=True) else None


@contextmanager
def apart(model: Net, trained: Sequence[nn.Module]) -> Iterator[None]:
    """Modules without trained weights that a frozen part shares with `trained` ones, such as a Dropout, are two.

    The frozen part has a twin meanwhile, in evaluation mode and with the same tensors.
    """
    awake = {module for part in trained for module in part.modules()}
    places = [(model.stages, str(i)) for i in range(len(model.stages))] + [(model, "head")]
    frozen = [(parent, name) for parent, name in places if parent._modules[name] not in trained]
    kept = [(parent, name, parent._modules[name]) for parent, name in frozen]
    shared = [(parent, name, part) for parent, name, part in kept if part and awake & set(part.modules())]
    for parent, name, part in shared:
        same = {id(tensor): tensor for tensor in (*part.parameters(), *part.buffers())}
        parent._modules[name] = copy.deepcopy(part, same).eval()
    try:
        yield
    finally:
        for parent, name, part in shared:
            parent._modules[name] = part
