"""Which jobs may follow each other in one process: those that run no code from outside."""

from __future__ import annotations

from finefuse.declare.facts import Facts
from finefuse.declare.shipped import all_shipped
from finefuse.discovery.registry import Registry
from finefuse.engine.order import Order
from finefuse.types import PluginKind, Ref


class Together:
    """Asked of an order, whether all plugins that it uses, and those inside them, came with finefuse itself.

    What rests on packages of an extra is imported by the job, and so no two find the same process. On a GPU each job
    has a process, because an error there can be one that stays.
    """

    def __init__(self, registry: Registry) -> None:
        self._facts = Facts(registry)
        self._known: dict[tuple[PluginKind, Ref], bool] = {}

    def __call__(self, order: Order) -> bool:
        """Whether it may share a process; a search says no, because what it tries may name plugins."""
        job = order.job
        return order.device == "cpu" and not job.search and all(self._shipped(*plugin) for plugin in job.plugins)

    def _shipped(self, kind: PluginKind, ref: Ref) -> bool:
        if (kind, ref) not in self._known:
            self._known[kind, ref] = all_shipped(self._facts, [(kind, ref)], extras=False)
        return self._known[kind, ref]
