"""What is best on val of several that other jobs have made: trials of a search, or of a list; and how one is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finefuse.declare.facts import Facts
from finefuse.engine.measure.cost import machine_id
from finefuse.engine.store.origin import job_of, origin_of
from finefuse.engine.work.given import refuse_changed_files
from finefuse.engine.work.searching import WORST, at_edge, quality_of, search_of, suggested, trying
from finefuse.engine.work.workbench import Workbench
from finefuse.types import Record, Ref

BILLED = ("seconds", "cpu_seconds", "steps", "gradients")
"""What all that were tried cost together; the members of fusions are paid for once."""
Scores = Callable[[str], Record]
"""How good the outputs of an artifact are, as fields of a row."""


def fused_trial(bench: Workbench, fuse: Callable[[Workbench, Record, Record], Record]) -> Record:
    """One of the fusions to choose from; one that diverges is no failure, but has no quality; its cost counts.

    `fuse` gets the bench, the bill, and what is to be stored besides.
    """
    store, job = bench.store, bench.order.job
    bill: Record = {}
    if not store.has(job.artifact) or store.meta(job.artifact)["quality"] is not None:
        tried: Record = {}
        if job.search:
            known = store.meta(job.artifact)["tried"] if store.has(job.artifact) else None
            tried = {"tried": suggested(bench, search_of(bench)) if known is None else known}
            refuse_changed_files(Facts(bench.registry), job)  # its parts are not those of what is tried
            bench = trying(bench, tried["tried"])
        try:
            return fuse(bench, bill, tried)
        except FloatingPointError as diverged:
            meta = {"quality": None, "reason": str(diverged), "machine": machine_id(), **bill, **tried}
            store.save(job.artifact, meta, origin=origin_of(bench.order))
    return store.meta(job.artifact)


def choose_fused(bench: Workbench) -> None:
    """Keep the trial with the highest quality on val, the first of equals, as what the job made.

    Raises:
        FloatingPointError: if none has a quality.
    """
    store, job = bench.store, bench.order.job
    metas = [store.meta(artifact) for artifact in job.trials]
    best = max(range(len(metas)), key=lambda i: quality_of(metas[i]))
    if quality_of(metas[best]) == WORST:
        raise FloatingPointError(f"none of {len(metas)} fusions has a quality on val to choose it by")
    if job.search:
        choice = {"chosen": metas[best]["tried"], "at_edge": at_edge(bench, search_of(bench), metas[best])}
    else:
        tried = varied([ref.kwargs for ref in _tried(bench)])
        choice = {"chosen": tried[best], "at_edge": ends(tried, best)}
    keep_trial(bench, metas, best, {"trials": len(metas), **choice})


def keep_trial(bench: Workbench, metas: Sequence[Record], best: int, choice: Record) -> None:
    """Keep one of the job's trials as what the job made, at what all of them cost."""
    store, job = bench.store, bench.order.job
    bill = {name: sum(meta.get(name, 0) for meta in metas) for name in BILLED}
    bill |= _energy(metas)
    meta = metas[best] | bill | choice | {"contended": any(bool(meta.get("contended")) for meta in metas)}
    weights = store.weights(job.trials[best]) if store.has_weights(job.trials[best]) else None
    outputs = store.outputs(job.trials[best])
    store.save(job.artifact, meta, origin=origin_of(bench.order), weights=weights, outputs=outputs)


def beside(bench: Workbench, scores: Scores) -> Record:
    """What two of a job's trials score on test: the one with default parameters, and the one that is best there.

    The latter is a peek: it says what choosing on the test set would be worth, and never counts.
    """
    store, job = bench.store, bench.order.job
    found = {i: scores(one) for i, one in enumerate(job.trials) if store.meta(one)["quality"] is not None}
    if not found:
        return {}
    fields = {f"default.{name}": value for name, value in _on_test(found.get(_default(bench), {})).items()}
    metric = next(iter(found.values()))["metrics"][0]
    sign = 1 if next(iter(found.values()))[f"better.{metric}"] == "higher" else -1
    known = [i for i, row in found.items() if not math.isnan(row[f"test.{metric}"])]
    if known:
        best = max(known, key=lambda i: sign * found[i][f"test.{metric}"])
        fields |= {f"peek_at_test.{name}": value for name, value in _on_test(found[best]).items()}
    return fields


def _on_test(row: Record) -> Record:
    return {name: value for name, value in row.items() if name.startswith("test.")}


def _default(bench: Workbench) -> int:
    """The number of the trial with default parameters: the first of a search; of a list it may be none, -1."""
    job = bench.order.job
    if job.kind == "tune" or job.search:
        return 0
    assert job.strategy is not None
    tried = [bench.registry.resolved("fusion", ref) for ref in _tried(bench)]
    default = bench.registry.resolved("fusion", job.strategy)
    return tried.index(default) if default in tried else -1


def _tried(bench: Workbench) -> list[Ref]:
    """The fusions of a job's trials."""
    made = [job_of(bench.store.origin(artifact)["job"]).strategy for artifact in bench.order.job.trials]
    return [ref for ref in made if ref is not None]


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


def ends(tried: Sequence[Mapping[str, Any]], best: int) -> list[str]:
    """Which of the chosen parameters are the smallest or largest of the numbers that were tried."""
    edges = []
    for name, value in tried[best].items():
        values = [params[name] for params in tried]
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        if numbers and value in (min(values), max(values)):
            edges.append(name)
    return edges
