"""What is best on val of several that other jobs have made: which fusion, and how a trial is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finefuse.engine.measure.cost import machine_id
from finefuse.engine.store.origin import job_of, origin_of
from finefuse.engine.work.workbench import Workbench
from finefuse.types import Record

BILLED = ("seconds", "cpu_seconds", "steps", "gradients")
"""What all that were tried cost together; the members of fusions are paid for once."""


def fused_trial(bench: Workbench, fuse: Callable[[Workbench, Record], Record]) -> Record:
    """One of the fusions to choose from; one that diverges is no failure, but has no quality; its cost counts."""
    store, job = bench.store, bench.order.job
    bill: Record = {}
    if not store.has(job.artifact) or store.meta(job.artifact)["quality"] is not None:
        try:
            return fuse(bench, bill)
        except FloatingPointError as diverged:
            meta = {"quality": None, "reason": str(diverged), "machine": machine_id(), **bill}
            store.save(job.artifact, meta, origin=origin_of(bench.order))
    return store.meta(job.artifact)


def choose_fused(bench: Workbench) -> None:
    """Keep the trial with the highest quality on val, the first of equals, as what the job made.

    Raises:
        FloatingPointError: if none has a quality.
    """
    store, job = bench.store, bench.order.job
    metas = [store.meta(artifact) for artifact in job.trials]
    found = [math.nan if meta["quality"] is None else float(meta["quality"]) for meta in metas]
    qualities = [-math.inf if math.isnan(quality) else quality for quality in found]
    best = max(range(len(metas)), key=qualities.__getitem__)
    if math.isnan(found[best]):
        raise FloatingPointError(f"none of {len(metas)} fusions has a quality on val to choose it by")
    made = [job_of(store.origin(artifact)["job"]).strategy for artifact in job.trials]
    tried = varied([ref.kwargs for ref in made if ref is not None])
    choice = {"trials": len(metas), "chosen": tried[best], "at_edge": at_edge(tried, best)}
    keep_trial(bench, metas, best, choice)


def keep_trial(bench: Workbench, metas: Sequence[Record], best: int, choice: Record) -> None:
    """Keep one of the job's trials as what the job made, at what all of them cost."""
    store, job = bench.store, bench.order.job
    bill = {name: sum(meta.get(name, 0) for meta in metas) for name in BILLED}
    bill |= _energy(metas)
    meta = metas[best] | bill | choice | {"contended": any(bool(meta.get("contended")) for meta in metas)}
    kept = {"weights": store.weights(job.trials[best]), "outputs": store.outputs(job.trials[best])}
    store.save(job.artifact, meta, origin=origin_of(bench.order), **kept)


def _energy(metas: Sequence[Record]) -> Record:
    """What all trials took together, if it is known of each."""
    summed: Record = {}
    for name in ("energy.processors", "energy.gpu"):
        joules = [float(meta[name]) for meta in metas if meta.get(name) is not None]
        summed[name] = sum(joules) if len(joules) == len(metas) else None
    why = next((meta["no_energy"] for meta in metas if meta.get("no_energy")), "")
    return {**summed, "no_energy": why}


def varied(tried: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Of the parameters of each trial those that are not the same in all."""
    names = dict.fromkeys(name for params in tried for name in params)
    other = [name for name in names if any(params.get(name) != tried[0].get(name) for params in tried)]
    return [{name: params.get(name) for name in other} for params in tried]


def at_edge(tried: Sequence[Mapping[str, Any]], best: int) -> list[str]:
    """Which of the chosen parameters are the smallest or largest of the numbers that were tried."""
    edges = []
    for name, value in tried[best].items():
        values = [params[name] for params in tried]
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        if numbers and value in (min(values), max(values)):
            edges.append(name)
    return edges
