"""What is left to do of a plan: which jobs have their row, which can take one over, which must run, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finefuse.declare.keys import explain
from finefuse.declare.plan import Plan
from finefuse.engine.store.artifacts import Artifacts
from finefuse.errors import StoreError
from finefuse.types import Cell, Job, Record

DONE = ("ok", "skipped")


@dataclass(frozen=True)
class Outlook:
    """What a run will do; all tuples are in the order of the plan."""

    rows: dict[Cell, Record]
    """The rows that stay, by cell."""
    adopted: tuple[tuple[Job, Record], ...]
    """Jobs whose row was made elsewhere: under another name, in another folder, or for a driver that was killed."""
    waiting: tuple[Job, ...]
    """Jobs that get a row."""
    remade: tuple[Job, ...]
    """Jobs that have their row and run again, because a waiting job needs an artifact that the store no longer has."""
    doubted: tuple[str, ...] = ()
    """One sentence for each damaged row in the store, which is not reused."""


@dataclass(frozen=True)
class Standing:
    """The state of one job, as `finefuse plan` shows it; `why` is a sentence or empty."""

    job: Job
    state: Literal["cached", "to run", "stale", "failed"]
    why: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.why}" if self.why else self.state


def look(plan: Plan, records: Sequence[Record], artifacts: Artifacts, *, retry: bool = False) -> Outlook:
    """Determine what is left to do.

    A job is done if its newest row is `ok` or `skipped`; or `failed`, `timeout` or `oom` and not to be retried; or
    `blocked` and one of its inputs still can't be made.
    """
    rows: dict[Cell, Record] = {}
    adopted: list[tuple[Job, Record]] = []
    waiting: list[Job] = []
    able: list[Job] = []
    made: set[Cell] = set()
    coming: set[str] = set()
    doubted: list[str] = []
    own = {(Cell.of(record), record["key"]): record for record in records}
    donors = {record["key"]: record for record in records if record["status"] == "ok"}
    for job in plan.jobs:
        possible = not job.skip and coming.issuperset(job.inputs)
        record = own.get((job.place, job.key))
        if record and _stays(record, retry=retry, possible=possible):
            rows[job.place] = record
        elif donor := donors.get(job.key) or stored_row(artifacts, job.key, doubted):
            adopted.append((job, record := donor))
        else:
            waiting.append(job)
            able += [job] * possible
            record = None
        if record is not None and record["status"] == "ok":
            made.add(job.place)
        if (possible and record is None) or job.place in made or artifacts.has(job.artifact):
            coming.add(job.artifact)
    makers = [job for job in plan.jobs if job.place in made]
    return Outlook(rows, tuple(adopted), tuple(waiting), _remade(makers, able, artifacts), tuple(doubted))


def look_closely(
    plan: Plan, records: Sequence[Record], artifacts: Artifacts, *, retry: bool = False
) -> tuple[Outlook, list[str]]:
    """The same, after reading every artifact that will be used and checking that it is what was stored.

    A damaged artifact is removed, so it is made again. The notes say so.

    Raises:
        StoreError: if the store can't be written to.
    """
    notes: list[str] = []
    trusted: set[str] = set()
    while True:
        outlook = look(plan, records, artifacts, retry=retry)
        jobs = (*outlook.waiting, *outlook.remade)
        used = {artifact: None for job in jobs for artifact in (*job.inputs, job.timed, job.artifact) if artifact}
        damaged = [a for a in used if a not in trusted and artifacts.has(a) and not artifacts.intact(a)]
        if not damaged:
            return outlook, [*notes, *_told(outlook.doubted)]
        trusted.update(used.keys() - damaged)
        makers = {job.artifact: job.cell for job in reversed(plan.jobs) if job.kind != "time"}
        for artifact in damaged:
            artifacts.discard(artifact)
            notes.append(f"{makers.get(artifact, artifact)}: its artifact in the store is damaged and is made again.")


def _told(doubted: Sequence[str]) -> list[str]:
    more = f" (Other such rows: {len(doubted) - 1}.)" if len(doubted) > 1 else ""
    return [f"{doubted[0]} It is not taken over, and its job runs.{more}"] if doubted else []


def state_of(plan: Plan, records: Sequence[Record], artifacts: Artifacts) -> list[Standing]:
    """The state of every job of the plan, in its order; for stale jobs with what has changed since their row."""
    outlook = look(plan, records, artifacts)
    newest = {Cell.of(record): record for record in records}
    adopted, remade = ({job.place for job in jobs} for jobs in ([j for j, _ in outlook.adopted], outlook.remade))

    def standing(job: Job) -> Standing:
        row, before = outlook.rows.get(job.place), newest.get(job.place)
        if job.place in remade:
            kept = "was kept without digests" if artifacts.unchecked(job.artifact) else "is gone from the store"
            return Standing(job, "to run", f"its artifact {kept} and another job needs it")
        if job.place in adopted:
            return Standing(job, "cached", "" if before and before["key"] == job.key else "its row is in the store")
        if row is not None and row["status"] in DONE:
            return Standing(job, "cached")
        if row is not None:
            return Standing(job, "failed", f"{row['reason']} (kept; --retry runs it again)")
        if before is not None and before["key"] != job.key:
            return Standing(job, "stale", explain(before.get("parts", {}), dict(job.parts)))
        return Standing(job, "to run")

    return [standing(job) for job in plan.jobs]


def _stays(record: Record, *, retry: bool, possible: bool) -> bool:
    if record["status"] in DONE:
        return True
    return not possible if record["status"] == "blocked" else not retry


def stored_row(artifacts: Artifacts, key: str, doubted: list[str]) -> Record | None:
    """The row that is kept under a key, if it is ok; `doubted` gets a sentence if it is damaged."""
    try:
        record = artifacts.row(key)
    except StoreError as error:
        doubted.append(str(error))
        return None
    return record if record and record["status"] == "ok" else None


def _remade(makers: Sequence[Job], able: Sequence[Job], artifacts: Artifacts) -> tuple[Job, ...]:
    """Makers of inputs that are missing and that no job makes anyway, and of the inputs of those."""
    at_hand = {job.artifact for job in able}
    needed = {artifact for job in able for artifact in job.inputs}
    found: list[Job] = []
    for job in reversed(makers):
        if job.artifact in needed - at_hand and not artifacts.has(job.artifact):
            at_hand.add(job.artifact)
            needed.update(job.inputs)
            found.append(job)
    return tuple(reversed(found))
