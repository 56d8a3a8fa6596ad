"""Notes on lines of one table that rest on less than others, or on something else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pandas as pd

from finefuse.types import Record, line_name

LISTED = 5
"""Lines and tables that a note names."""


def unequal_notes(scored: Sequence[Record], lines: pd.DataFrame) -> Iterator[str]:
    """One sentence for each difference; `scored` are the ok rows that lines rest on."""
    yield from _fewer_seeds(lines)
    yield from _other_examples(scored)
    yield from _other_machines(scored)
    yield from _beside_other_work(scored)
    yield from _without_energy(scored)


def _fewer_seeds(lines: pd.DataFrame) -> Iterator[str]:
    """Lines whose mean is over fewer seeds than that of others in their table."""
    found = []
    for (dataset, backbone), group in lines[lines["ok"] > 0].groupby(["dataset", "backbone"], sort=False):
        most = int(group["ok"].max())
        for strategy, pool, ok in group[["strategy", "pool", "ok"]].itertuples(index=False):
            if ok < most:
                found.append(f"{line_name(strategy, pool)} on {dataset} · {backbone} ({ok} of {most})")
    if found:
        yield f"Means over fewer seeds than others in their table: {_listed(found)}."


def _other_examples(scored: Sequence[Record]) -> Iterator[str]:
    """Tables in which the rows of one seed were scored on different test examples."""
    found: dict[tuple[str, str, int], set[tuple[str, int]]] = defaultdict(set)
    for record in scored:
        if record.get("examples"):
            at = record["dataset"], record["backbone"], record["seed"]
            found[at].add((record["examples"], record.get("n_test", 0)))
    tables = dict.fromkeys(f"{dataset} · {backbone}" for (dataset, backbone, _), sets in found.items() if len(sets) > 1)
    if tables:
        yield (
            f"Rows of one table and seed were scored on different test examples, so their scores can't be compared: "
            f"{_listed(list(tables))}."
        )


def _other_machines(scored: Sequence[Record]) -> Iterator[str]:
    """Tables whose seconds are of several machines."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for record in scored:
        if record.get("machine"):
            found[record["dataset"], record["backbone"]][record["machine"]] += 1
    several = [
        f"{dataset} · {backbone} ({len(counts)})" for (dataset, backbone), counts in found.items() if len(counts) > 1
    ]
    if several:
        yield f"Seconds in one table are of several machines, and say nothing about its lines: {_listed(several)}."


def _beside_other_work(scored: Sequence[Record]) -> Iterator[str]:
    contended = sum(bool(record.get("contended")) for record in scored)
    if contended:
        yield f"The seconds of {contended} of {len(scored)} rows were taken beside other work on the machine."


def _without_energy(scored: Sequence[Record]) -> Iterator[str]:
    """Why the energy of rows is not known, the most frequent reason first."""
    reasons = Counter(record["no_energy"] for record in scored if record.get("no_energy"))
    if reasons:
        told = [f"{reason} ({count} of {len(scored)} rows)" for reason, count in reasons.most_common()]
        yield f"Energy that is not known: {_listed(told)}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{'; '.join(names[:LISTED])}{more}"
