"""Ensembles whose members nothing has read yet: what is known of the members says all of the ensemble."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from finefuse.declare.keys import COUNTING, address
from finefuse.engine.measure.cost import machine_id, parameter_count, size_of
from finefuse.engine.measure.flops import flops_per_example
from finefuse.engine.measure.scores import pack_numbers
from finefuse.engine.precision import mixed_precision
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import PluginError
from finefuse.nets import CombineOutputs, evaluation
from finefuse.types import Member, Record, Splits

AGREEMENT = 1e-4
"""How far an ensemble's outputs may lie from those combined of its members' stored outputs."""
CHECKED = 32
"""Test examples for which that is looked at: members may take longer for them than their fusion for all."""


class _Known(nn.Module):
    """In place of a member: what it gives on the first examples."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self._outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs), for the first N."""
        return self._outputs[: len(x)]


def of_members(model: nn.Module) -> TypeGuard[CombineOutputs]:
    """Whether a model combines the outputs of members of a pool."""
    return isinstance(model, CombineOutputs) and all(isinstance(member, Member) for member in model.members)


def stored_outputs(bench: Workbench, ensemble: CombineOutputs) -> list[dict[str, Tensor]]:
    """What the members of an ensemble have in the store."""
    return [bench.store.outputs(artifact) for artifact in _artifacts(bench, ensemble)]


def combined(bench: Workbench, ensemble: CombineOutputs, splits: Splits) -> dict[str, Tensor]:
    """An ensemble's outputs from those its members have in the store, held against the real thing on one batch.

    Raises:
        PluginError: if they differ.
    """
    stored, device = stored_outputs(bench, ensemble), splits.test.y.device
    parts = ("val", "test", *(f"also.{name}" for name in bench.more_tests))
    outputs = {part: ensemble.combine(torch.stack([s[part].to(device) for s in stored])) for part in parts}
    x = splits.test.x[:CHECKED]
    if _unread(ensemble):
        precision = mixed_precision(bench.order.settings.precision, device)
        with _members_known(bench, ensemble, x), evaluation(ensemble), precision:
            real = ensemble(x.to(device)).float()
    else:
        real = bench.fusion_trainer.outputs(ensemble, x)
    if not torch.allclose(real, outputs["test"][:CHECKED], atol=AGREEMENT, rtol=AGREEMENT, equal_nan=True):
        raise PluginError("the ensemble's outputs differ from those combined of its members' outputs")
    return outputs


def counts(bench: Workbench, model: nn.Module, splits: Splits) -> Record:
    """Parameters, bytes and operations of a model; of members that nothing has read as they were counted before."""
    x = splits.test.inputs(slice(1))
    if not of_members(model) or not _unread(model):
        return _counted(model, x)
    metas = [bench.store.meta(artifact) for artifact in _artifacts(bench, model)]
    if any(meta.get("counting") != COUNTING or "bytes" not in meta for meta in metas):
        return _counted(model, x)
    with _members_known(bench, model, splits.test.x[:CHECKED]):
        own = _counted(model, x)
    once = {id(member): meta for member, meta in zip(model.members, metas, strict=True)}.values()
    return {
        "parameters": own["parameters"] + sum(meta["parameters"] for meta in once),
        "bytes": own["bytes"] + sum(meta["bytes"] for meta in once),
        "flops": own["flops"] + sum(meta["flops"] for meta in metas),
    }


def _counted(model: nn.Module, x: Tensor) -> Record:
    flops = flops_per_example(model, x)  # first, because an ensemble reads its members then
    return {"parameters": parameter_count(model), "bytes": size_of(model), "flops": flops}


def _unread(ensemble: CombineOutputs) -> bool:
    """Whether its members are what the store has, and nothing but `combine` is its own."""
    read = (isinstance(member, Member) and member.is_read for member in ensemble.members)
    return type(ensemble) is CombineOutputs and ensemble.nets is None and not any(read)


def _artifacts(bench: Workbench, ensemble: CombineOutputs) -> list[str]:
    named = dict(bench.order.job.fused)
    return [named[member.name] for member in ensemble.members if isinstance(member, Member)]


@contextmanager
def _members_known(bench: Workbench, ensemble: CombineOutputs, x: Tensor) -> Iterator[None]:
    """The ensemble with what its members give for the first test examples `x` in their place."""
    ensemble.nets = nn.ModuleList(_Known(_first_outputs(bench, one, x)) for one in _artifacts(bench, ensemble))
    try:
        yield
    finally:
        ensemble.nets = None


def _first_outputs(bench: Workbench, artifact: str, x: Tensor) -> Tensor:
    """What a member itself gives for these examples, (N, outputs); computed once for all fusions on this machine."""
    settings, device = bench.order.settings, torch.device(bench.order.device)
    about = {"artifact": artifact, "first examples": str(len(x)), "machine": machine_id(), "device": device.type}
    names = ("precision", "channels_last", "threads", "tf32", "deterministic")
    place = address(about | {name: str(getattr(settings, name)) for name in names})
    kept: Any = bench.store.measured(place)
    if kept is None:
        outputs = bench.fusion_trainer.outputs(bench.tuned(artifact), x)
        kept = {"outputs": pack_numbers(outputs), "shape": list(outputs.shape)}
        bench.store.save_measured(place, kept)
    numbers = np.frombuffer(base64.b64decode(kept["outputs"]), "<f4").reshape(kept["shape"])
    return torch.tensor(numbers, device=device)
