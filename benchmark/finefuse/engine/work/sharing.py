"""Which jobs share what frozen stages give: those that run no code from outside, on the processor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from finefuse.declare.facts import Facts, version_of
from finefuse.declare.keys import canonical, environment
from finefuse.declare.shipped import all_shipped
from finefuse.discovery.registry import Registry
from finefuse.engine.order import Order
from finefuse.engine.store.artifacts import Artifacts, shared_room
from finefuse.engine.store.computed import Computed
from finefuse.engine.store.origin import job_of
from finefuse.engine.train.shared import SharedStages
from finefuse.engine.train.structure import Code
from finefuse.nets import Net
from finefuse.types import Job, PluginKind, Ref

FLAGS = ("precision", "channels_last", "threads", "deterministic", "tf32", "portable")
"""Settings that may change what a network gives in evaluation mode."""


def shared_stages(
    order: Order, registry: Registry, pretrained: Net | None = None, *, scheme: Ref | None = None
) -> SharedStages | None:
    """What a job shares with others; None where it runs code from outside, or on a GPU.

    Such code may change what a network computes in ways that no address shows, so its job neither keeps nor reads. Nor
    does one that may take fewer examples at a time when out of memory, or any where there is no room for what is kept.
    `scheme` is what a trial tries.
    """
    job, settings, room = order.job, order.settings, shared_room()
    if not room or order.device != "cpu" or settings.accumulate:
        return None
    jobs = [replace(job, strategy=scheme) if scheme else job]
    prepared = list[tuple[PluginKind, Ref]]()
    store = Artifacts(Path(order.store))
    for artifact in _inputs(job, store):
        jobs.append(job_of(store.origin(artifact)["job"]))
        if by := store.meta(artifact).get("prepared_by"):
            prepared.append(("scheme", Ref.of(by["use"], **by["params"])))
    if not all_shipped(Facts(registry), [*prepared, *(one for each in jobs for one in each.plugins)], extras=True):
        return None
    flags = canonical({flag: vars(settings)[flag] for flag in FLAGS})
    parts = {**environment(order.device, settings), "settings": flags}
    return SharedStages(Computed(store.root, room), parts, _code(registry, {one.backbone for one in jobs}), pretrained)


def _inputs(job: Job, store: Artifacts) -> Iterable[str]:
    """The networks that the job reads, and what it made itself if that is there already."""
    named = (job.start, *(artifact for _, artifact in (*job.fused, *job.own)))
    own = [job.artifact] if job.artifact and store.has(job.artifact) else []
    return dict.fromkeys([*filter(None, named), *own])


def _code(registry: Registry, backbones: Iterable[Ref]) -> Code:
    """What stands for the code of these backbones' networks; that of torch and of the core is in the surroundings."""
    code: dict[str, str | None] = {"torch": "", "builtins": "", "finefuse": ""}
    for ref in backbones:
        code |= {module: version_of(module) for module in registry.find("backbone", ref.name).entry.requires}
    for ref in backbones:
        code.setdefault(type(registry.build("backbone", ref)).__module__.partition(".")[0], None)
    return code
