"""One's own rows among released ones, of another machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from finefuse.errors import StoreError, did_you_mean
from finefuse.judge.board.fairness import cost_version, costed, protocol_of, without_costs
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.judge.board.lines import Place
from finefuse.judge.merging import VERSION, different_fields
from finefuse.records import Results, read_results
from finefuse.types import Cell, Record

MARK = " (mine)"
"""After the names of one's own lines and pools."""
Group = tuple[str, str]
"""A data set and a backbone."""


def against(mine: Path, released: Path) -> Leaderboard:
    """A board of the data sets and backbones of one's own results, with the released lines of the same ones.

    One's own lines are marked, and so are their pools. Released lines have no costs where these can't be compared.

    Raises:
        StoreError: if a folder can't be read, nothing is in common, or results, test examples or ways to rank differ.
    """
    ours, theirs = read_results(mine), read_results(released)
    common = _common(ours, theirs, released)
    _refuse_unlike(ours.rows, theirs.rows, mine, released)
    rows = [row for row in theirs.rows if _group(row) in common]
    same, other = _shared(ours.rows, rows)
    comparable = _costs_compare(ours.rows, rows)
    shown = rows if comparable else [without_costs(row) for row in rows]
    own = [_marked(row) for row in ours.rows if Place.of(row) not in same]
    board = make_leaderboard(ours.suite, [*shown, *own], ours.missing, ours.refused)
    notes = _notes(mine, released, ours.rows, rows, same, other, comparable=comparable)
    return replace(board, notes=(*notes, *board.notes))


def _group(row: Record) -> Group:
    return row["dataset"], row["backbone"]


def _common(ours: Results, theirs: Results, released: Path) -> set[Group]:
    """The data sets and backbones of both."""
    own, other = ({_group(row) for row in results.rows if Cell.of(row).has_line} for results in (ours, theirs))
    if not own & other:
        name = " · ".join(next(iter(sorted(own)), ("nothing", "nothing")))
        known = [" · ".join(group) for group in sorted(other)]
        hint = did_you_mean(name, known) or f"; it has {', '.join(known[:3])}"
        raise StoreError(f"{released}: has no lines for {name}, nor for others of your data sets and backbones{hint}")
    return own & other


def _refuse_unlike(ours: Sequence[Record], theirs: Sequence[Record], mine: Path, released: Path) -> None:
    """Refuse what must not stand in one table.

    Raises:
        StoreError: for other versions of results, test examples, or ranking metrics.
    """
    versions = [
        {row["parts"][VERSION] for row in rows if VERSION in (row.get("parts") or {})} for rows in (ours, theirs)
    ]
    if len(versions[0] | versions[1]) > 1:
        told = [", ".join(sorted(found)) or "none" for found in versions]
        raise StoreError(f"{mine} has results of version {told[0]}, {released} of {told[1]}; they can't be compared.")
    for name, what in {"examples": "test examples", "metrics": "metrics"}.items():
        found: dict[tuple[str, int], Record] = {}
        for row in (*theirs, *ours):
            if row.get(name) and Cell.of(row).has_line:
                before = found.setdefault((row["dataset"], row["seed"]), row)
                if before[name][:1] != row[name][:1] if name == "metrics" else before[name] != row[name]:
                    raise StoreError(
                        f"{mine} and {released} have other {what} for {row['dataset']}, seed {row['seed']}."
                    )


def _shared(ours: Sequence[Record], theirs: Sequence[Record]) -> tuple[set[Place], list[str]]:
    """One's own lines of which every row is a released one, and cells of which the results differ all the same."""
    released = {row["key"]: row for row in theirs if row["status"] == "ok"}
    keys: dict[Place, list[bool]] = defaultdict(list)
    differing = []
    for row in ours:
        twin = released.get(row["key"])
        if twin and row["status"] == "ok" and different_fields(row, twin):
            differing.append(row["cell"])
            twin = None
        if row["kind"] in ("tune", "fuse", "pool"):
            keys[Place.of(row)].append(twin is not None)
    return {place for place, known in keys.items() if all(known)}, differing


def _costs_compare(ours: Sequence[Record], theirs: Sequence[Record]) -> bool:
    """Whether costs were measured on the same machine by the same protocol."""
    machines = [{row.get("machine") for row in rows if costed(row)} for rows in (ours, theirs)]
    versions = {(protocol_of(row), cost_version(row)) for row in (*ours, *theirs) if costed(row)}
    one = machines[0] == machines[1] and len(machines[0]) == 1 and None not in machines[0]
    return one and len(versions) == len({protocol for protocol, _ in versions})


def _marked(row: Record) -> Record:
    marked = row | {"label": f"{row['label']}{MARK}"} if row["label"] else row
    return marked | {"pool": f"{row['pool']}{MARK}"} if row["pool"] else marked


def _notes(
    mine: Path,
    released: Path,
    ours: Sequence[Record],
    theirs: Sequence[Record],
    same: set[Place],
    differing: Sequence[str],
    *,
    comparable: bool,
) -> Iterator[str]:
    """What stands beside what."""
    machines = [sorted({str(row["machine"]) for row in rows if row.get("machine")}) for rows in (ours, theirs)]
    own, other = (", ".join(found) or "a machine that is not named" for found in machines)
    yield f"Lines marked{MARK} are from {mine}, measured on {own}; all others are from {released}, measured on {other}."
    if not comparable:
        yield (
            "Seconds, memory and latency of the released lines are left out: they were measured on another machine or "
            "by another protocol. FLOPs and numbers of parameters can be compared."
        )
    again = sorted({place.strategy for place in same if place.label})
    if again:
        yield f"Your rows of {', '.join(again)} are the released ones, bit by bit, and stand there once."
    if differing:
        yield f"{len(differing)} rows have the key of a released one and other results, such as {differing[0]}."
