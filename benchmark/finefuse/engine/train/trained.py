"""Which parameters are trained: they alone have gradients and are in training mode meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from finefuse.engine.train.prefix import apart
from finefuse.nets import Net, norm_layers
from finefuse.types import NormPolicy

Groups = list[dict[str, Any]]


def listed(groups: Iterable[Mapping[str, Any]], model: nn.Module, norm: NormPolicy) -> Groups:
    """Groups with their parameters as lists; under norm="eval" without those of BatchNorm, and without empty ones."""
    kept_out = {id(p) for layer in norm_layers(model) for p in layer.parameters()} if norm == "eval" else set()
    listed = [{**group, "params": [p for p in group["params"] if id(p) not in kept_out]} for group in groups]
    seen: set[int] = set()
    for p in (p for group in listed for p in group["params"]):
        if id(p) in seen:
            raise ValueError("a parameter is in two groups, or twice in one")
        seen.add(id(p))
    return [group for group in listed if group["params"]]


@contextmanager
def only_these_train(model: nn.Module, tuned: list[nn.Parameter], norm: NormPolicy) -> Iterator[None]:
    """Gradients for these parameters alone, and training mode where it can't touch anything else.

    A BatchNorm layer normalises by the batch and renews its statistics only where its own scale and shift are trained
    and the policy is "train". Stages without a trained parameter stay in evaluation mode.
    """
    ids = {id(p) for p in tuned}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    for p, _ in flags:
        p.requires_grad_(id(p) in ids)
    model.eval()
    parts = [*model.stages, model.head] if isinstance(model, Net) else [model]
    trained = [part for part in parts if any(id(p) in ids for p in part.parameters())]
    for part in trained:
        part.train()
    for layer in norm_layers(model):
        layer.train(layer.training and norm == "train" and any(id(p) in ids for p in layer.parameters()))
    try:
        with apart(model, trained) if isinstance(model, Net) else nullcontext():
            yield
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
            p.grad = None
        for module, mode in modes:
            module.training = mode
