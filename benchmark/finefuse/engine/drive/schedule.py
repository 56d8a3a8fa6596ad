"""Runs a plan with an executor: every job ends in exactly one row. Doesn't import torch."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from finefuse.declare.keys import environment
from finefuse.declare.plan import Plan
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.drive.observers import Observers
from finefuse.engine.drive.outlook import Outlook, look_closely, stored_row
from finefuse.engine.drive.shares import memory_limit, places
from finefuse.engine.drive.together import Together
from finefuse.engine.order import Order, identity, row, status_of
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.attempt import attempt, failure, get_ready
from finefuse.errors import DeviceLost, MemoryExceeded, StoreError, WorkerDied
from finefuse.files import write_whole
from finefuse.predictions import Predictions
from finefuse.processor import PINNED
from finefuse.records import Records, log_of, passed_over, traceback_of
from finefuse.rows import given_as
from finefuse.types import Cell, Crew, Executor, Job, Record, Status

BECAME = {
    "failed": "failed",
    "timeout": "ran out of time",
    "oom": "ran out of memory",
    "skipped": "was skipped",
    "blocked": "is blocked",
}
PRELOAD = ("finefuse.engine.work.preloaded",)


def run_plan(
    plan: Plan,
    registry: Registry,
    *,
    executor: Executor,
    workers: int,
    device: str,
    out: Path,
    store: Path,
    observers: Observers,
    retry: bool = False,
    call: Callable[[Order], Record] = attempt,
) -> list[Record]:
    """Carry out the jobs of a plan that are left to do and return the rows of all its jobs, in its order.

    Args:
        plan: the jobs; a job comes after those that make its inputs.
        registry: gives the doors to the workers and is told of every new row.
        executor: started only if a job has to run, and then always stopped.
        workers: jobs at a time.
        device: "cpu", "cuda" (all of them in turn) or "cuda:n".
        out: folder of the rows, which no other process may write to at the same time.
        store: folder of the artifacts.
        observers: are told of the progress.
        retry: run jobs again that failed, or ran out of time or memory.
        call: what a worker does with an order; it returns a row or raises.

    Raises:
        StoreError: if rows or artifacts can't be read or written; the rows until then are kept, as with Ctrl-C.
        DeviceLost: if a job left a GPU unusable in a process that carries out others too; rows are kept as well.
    """
    records, artifacts = Records(out), Artifacts(store.absolute())  # a plugin may change a worker's directory
    with records.lock():
        rows, refused = records.read()
        records.write_plan(plan.suite.name, [(job.place, job.key) for job in plan.jobs], _asked(plan, registry))
        artifacts.sweep()
        outlook, notes = look_closely(plan, rows, artifacts, retry=retry)
        free = places(device, workers if capabilities.parallel(executor) else 1)
        drive = _Drive(plan, registry, executor, records, artifacts, observers, call, free, outlook)
        try:
            for note in (*passed_over(refused), *notes):
                observers.note(note)
            drive.run()
        finally:
            if drive.started:
                executor.stop()
            observers.run_ends(list(drive.rows.values()))
        return [drive.rows[job.place] for job in plan.jobs]


def _asked(plan: Plan, registry: Registry) -> dict[str, Any]:
    """What a run is asked for, as `show` repeats it, `compare` judges it and `verify` runs it again."""
    doors = [door for door in registry.doors if isinstance(door, str)]
    gate = {"gate": dict(plan.suite.gate)} if plan.suite.gate else {}
    table = {"table": dict(plan.suite.table)} if plan.suite.table else {}
    return {"suite": plan.suite.asked, "plugins": doors, **gate, **table}


@dataclass
class _Drive:
    """One run: the jobs that wait, those that run, and the rows of the others."""

    plan: Plan
    registry: Registry
    executor: Executor
    records: Records
    artifacts: Artifacts
    observers: Observers
    call: Callable[[Order], Record]
    free: list[str]
    outlook: Outlook
    rows: dict[Cell, Record] = field(default_factory=dict)
    pending: list[Job] = field(default_factory=list)
    running: dict[Future[Record], tuple[Job, str]] = field(default_factory=dict)
    trouble: dict[str, tuple[Status, str]] = field(default_factory=dict)
    started: bool = False

    def __post_init__(self) -> None:
        self.workers, self.jobs_on = len(self.free), Counter(self.free)
        self.predictions = Predictions(self.records.folder)
        self.kept = self.predictions.known()
        self.quiet = {job.place for job in self.outlook.remade}
        todo = {job.place for job in self.outlook.waiting} | self.quiet
        self.pending = [job for job in self.plan.jobs if job.place in todo]

    def run(self) -> None:
        """Run until every job of the plan has its row."""
        waiting = len(self.outlook.waiting)
        self.observers.run_begins(self.plan, waiting, len(self.plan.jobs) - waiting)
        for job in self.plan.jobs:
            if job.place in self.outlook.rows:
                self.keep_predictions(self.outlook.rows[job.place], None)
                self.settle(job, self.outlook.rows[job.place])
        for job, record in self.outlook.adopted:
            own = identity(self.order(job, str(record.get("device", "")))) | given_as(job.label, record)
            self.settle(job, record | own, new=True)
        while self.pending or self.running:
            while self.free and (ready := self.next()):
                self.pending.remove(ready)
                self.begin(ready)
            for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                self.end(future)

    def next(self) -> Job | None:
        """The first job of the plan whose inputs no running job makes; timing jobs come last and run alone."""
        busy = {job.artifact for job, _ in self.running.values()}
        alone = not self.running and all(job.kind == "time" for job in self.pending)
        for job in self.pending:
            if busy.isdisjoint((*job.inputs, job.artifact)) and (alone or job.kind != "time"):
                return job
            busy.add(job.artifact)
        return None

    def begin(self, job: Job) -> None:
        """Give the job to a worker, or its row at once if it can't run."""
        device = self.free[0]
        order = self.order(job, device)
        missing = [artifact for artifact in job.inputs if not self.artifacts.has(artifact)]
        if job.skip:
            self.close(job, row(order, "skipped", reason=job.skip, machine=""))
        elif missing:
            self.close(job, self.without(order, missing))
        else:
            if not self.started:
                settings, elsewhere = order.settings, capabilities.elsewhere(self.executor)
                memory = memory_limit(self.plan.suite.limits, self.workers, elsewhere=elsewhere is not None)
                self.started = True
                pinned = PINNED if settings.portable else {}
                used = tuple(dict.fromkeys(one for waiting in self.pending for one in waiting.plugins))
                extras = settings.compile == "off"  # timm changes how torch compiles when it is imported
                prepare = partial(get_ready, self.registry.doors, used, extras=extras)
                kind = partial(environment, device, settings)
                calls, together = len(self.pending), Together(self.registry)
                self.executor.start(
                    Crew(self.workers, settings.threads, memory, PRELOAD, prepare, pinned, calls, kind, together)
                )
            self.free.remove(device)
            if job.place not in self.quiet:
                self.observers.job_begins(job)
            self.running[self.submit(order)] = job, device

    def submit(self, order: Order) -> Future[Record]:
        """Pass the job to the executor; if the executor itself raises, the job fails."""
        try:
            return self.executor.submit(self.call, order, self.plan.suite.limits.seconds)
        except Exception as error:
            refused: Future[Record] = Future()
            refused.set_exception(error)
            return refused

    def end(self, future: Future[Record]) -> None:
        """A worker has finished its job."""
        job, device = self.running.pop(future)
        self.free.append(device)
        error = future.exception()
        if isinstance(error, StoreError | DeviceLost):
            raise error
        self.close(job, self.verdict(self.order(job, device), error) if error else future.result())

    def verdict(self, order: Order, error: BaseException) -> Record:
        """The row of a job that its executor gave up."""
        known = isinstance(error, (TimeoutError, MemoryExceeded, WorkerDied))
        peak = error.peak_memory if isinstance(error, MemoryExceeded) else None
        return failure(
            order, error, status_of(error), "" if known else "".join(traceback.format_exception(error)), peak
        )

    def without(self, order: Order, missing: Sequence[str]) -> Record:
        """The row of a job that lacks inputs: it names the cell that is the cause, not the cells in between."""
        why = [self.trouble.get(artifact) or self.lost(artifact) for artifact in missing]
        status, reason = next((one for one in why if one[0] != "skipped"), why[0])
        return row(order, "skipped" if status == "skipped" else "blocked", reason=reason, machine="")

    def lost(self, artifact: str) -> tuple[Status, str]:
        """Why an input is missing that no job has failed to make."""
        makers = [job.cell for job in self.plan.jobs if job.artifact == artifact]
        if makers:
            return "failed", f"needs {makers[0]}, whose artifact {artifact} is not in the store"
        return "failed", f"needs the artifact {artifact}, which no job of this plan makes"

    def close(self, job: Job, record: Record) -> None:
        """Keep the job's row; a job that only ran for its artifact has one already."""
        if record.get("traceback"):
            record["traceback"] = self.write_traceback(job, record["traceback"])
        if job.place not in self.quiet:
            self.settle(job, record, new=True)
            self.observers.job_ends(job, record)
        elif record["status"] != "ok":
            self.remember(job, record)
            self.observers.note(f"{job.cell} could not be made again: {record['reason']}")

    def settle(self, job: Job, record: Record, *, new: bool = False) -> None:
        """Settle the job with this row; a new row is written to the disk before it is announced."""
        if new:
            self.keep_predictions(record, record.pop("predictions", None))
            self.records.append(record)
        self.rows[job.place] = record
        if record["status"] != "ok":
            self.remember(job, record)
        if new:
            for complaint in self.registry.job_done(job, record):
                self.observers.note(complaint)

    def keep_predictions(self, record: Record, made: Record | None) -> None:
        """Write a row's predicted classes, if there are any; where they were lost, the store has them still."""
        if not record.get("predicted") or record["key"] in self.kept:
            return
        if made is None:
            stored = stored_row(self.artifacts, record["key"], [])
            made = stored.get("predictions") if stored and stored.get("predicted") == record["predicted"] else None
        if made is not None:
            self.predictions.keep(record, made, self.kept)

    def remember(self, job: Job, record: Record) -> None:
        """The reason given to jobs that need this job's artifact."""
        status, reason = record["status"], record["reason"]
        causes = [self.trouble[artifact] for artifact in job.inputs if artifact in self.trouble]
        if status in ("blocked", "skipped") and causes:
            self.trouble[job.artifact] = causes[0]
        else:
            self.trouble[job.artifact] = status, f"needs {job.cell}, which {BECAME[status]}: {reason}"

    def write_traceback(self, job: Job, text: str) -> str:
        """Write the traceback to a separate file; returns its path relative to the results folder."""
        path = traceback_of(job.key)
        full = self.records.folder / path
        try:
            full.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{full}: can't be written: {error.strerror}.") from error
        write_whole(full, text, errors="backslashreplace")
        return str(path)

    def order(self, job: Job, device: str) -> Order:
        """All that a worker needs to know."""
        suite = self.plan.suite
        return Order(
            job=job,
            suite=suite.name,
            settings=suite.settings,
            latency=suite.latency,
            device=device,
            store=str(self.artifacts.root),
            doors=self.registry.doors,
            contents=self.plan.contents,
            beside=self.jobs_on[device] or 1,
            log=str(self.records.folder.absolute() / log_of(job.key)),
        )
