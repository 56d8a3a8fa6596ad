"""Which jobs share what frozen stages give: those that run no code from outside, on the processor."""

from __future__ import annotations

from pathlib import Path

from finefuse.declare.facts import Facts, version_of
from finefuse.declare.keys import canonical, environment, source_digests
from finefuse.declare.shipped import all_shipped
from finefuse.discovery.registry import Registry
from finefuse.engine.order import Order
from finefuse.engine.store.artifacts import shared_room
from finefuse.engine.store.computed import Computed
from finefuse.engine.train.shared import SharedStages
from finefuse.nets import Net
from finefuse.types import Ref


def shared_stages(order: Order, registry: Registry, scheme: Ref, pretrained: Net) -> SharedStages | None:
    """What a job that tunes by this scheme shares with others; None where it runs code from outside, or on a GPU.

    Such code may change what a network computes in ways that no address shows, so its job neither keeps nor reads. Nor
    does one that may take fewer examples at a time when out of memory, or any where there is no room for what is kept.
    """
    job, settings, room = order.job, order.settings, shared_room()
    plugins = [*(one for one in job.plugins if one != ("scheme", job.strategy)), ("scheme", scheme)]
    if not room or order.device != "cpu" or settings.accumulate:
        return None
    if not all_shipped(Facts(registry), plugins, extras=True):
        return None
    backbone = type(registry.build("backbone", job.backbone))
    requires = registry.find("backbone", job.backbone.name).entry.requires
    flags = ("precision", "channels_last", "threads", "deterministic", "tf32", "portable")
    parts = {
        **environment(order.device, settings),
        **{f"version of {module}": version_of(module) for module in requires},
        "sources": canonical(source_digests(backbone)),
        "settings": canonical({flag: vars(settings)[flag] for flag in flags}),
    }
    packages = {backbone.__module__.partition(".")[0], "finefuse", *(name.partition(".")[0] for name in requires)}
    return SharedStages(Computed(Path(order.store), room), parts, packages, pretrained)
