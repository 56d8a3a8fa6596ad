"""The search for the parameters of a job's scheme or fusion: what its trials try, and which of them lie at the edge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from finefuse.declare.facts import Facts
from finefuse.discovery import capabilities
from finefuse.engine.work.workbench import Workbench
from finefuse.types import PluginKind, Record, Ref, Searcher, Space

WORST = float("-inf")
"""How good a trial is that diverged, or whose quality is no number."""


@dataclass(frozen=True)
class Search:
    """A search, and what it is for: the plugin `of` of a kind, whose ranges are `space`."""

    how: Searcher
    kind: PluginKind
    of: Ref
    space: Space


def search_of(bench: Workbench) -> Search:
    """The search that a job is part of."""
    job = bench.order.job
    ref = job.search or job.strategy
    kind: PluginKind = "fusion" if job.search else "scheme"
    assert ref is not None
    bench.require("scheme", ref)
    how = capabilities.searcher(bench.registry.build("scheme", ref))
    assert how is not None, "only searches have trials"
    of = Ref.read(how.of)
    return Search(how, kind, of, Facts(bench.registry).space(kind, of))


def quality_of(trial: Record) -> float:
    """How good a trial is on val."""
    known = trial["quality"]
    return WORST if known is None or math.isnan(known) else float(known)


def suggested(bench: Workbench, search: Search) -> Mapping[str, Any]:
    """What a trial tries, by what is known of earlier ones."""
    job = bench.order.job
    metas = [bench.store.meta(artifact) for artifact in job.trials]
    known = [(meta["tried"], quality_of(meta)) for meta in metas]
    return search.how.suggest(job.trial, known, search.space, bench.seed("search", member=job.member))


def at_edge(bench: Workbench, search: Search, trial: Record) -> list[str]:
    """Which parameters of a trial lie at the edge of their range, those that it left as they were too."""
    return list(search.how.at_edge(_written(bench, search, trial) | trial["tried"], search.space))


def _written(bench: Workbench, search: Search, trial: Record) -> Record:
    """The parameters of what is searched for, as written; a scheme's open ones are what the trial trained with.

    That is the network's recipe, but for the rate: a scheme may take another one of it than `lr`.
    """
    strategy = bench.build(search.kind, search.of)
    written = {field.name: getattr(strategy, field.name) for field in fields(strategy)}
    if search.kind == "fusion":
        return written
    used = asdict(bench.start().recipe)
    used |= {"lr": trial["rate"]} if trial.get("rate") is not None else {}
    return {name: used.get(name) if value is None else value for name, value in written.items()}


def trying(bench: Workbench, params: Mapping[str, Any]) -> Workbench:
    """The bench of the same job, with a fusion that has these parameters and is not searched for."""
    job = bench.order.job
    assert job.strategy is not None
    one = replace(job, strategy=job.strategy.having(params), search=None, trials=(), parts=())
    return Workbench(replace(bench.order, job=one), bench.effort)
