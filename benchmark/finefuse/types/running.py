"""A run and its results: jobs, records, executors, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, TypeVar

from finefuse.errors import PluginError
from finefuse.types.entries import PluginKind, Ref
from finefuse.types.learning import Budget

T_contra = TypeVar("T_contra", contravariant=True)

JobKind = Literal["pretrain", "trial", "tune", "fuse", "pool", "time"]
Status = Literal["ok", "failed", "timeout", "oom", "skipped", "blocked"]
Judgement = Literal[
    "regressed", "failed", "missing", "not-comparable", "inconclusive", "improved", "new", "skipped", "unchanged"
]
"""What a comparison says of something, the worst first."""
Scope = Literal["comparison", "line", "cell"]
"""What a judgement is about: everything, a line of the board with all its seeds, or one cell."""
Record = dict[str, Any]
"""One flat JSON row per planned job, always exactly one. `docs/records.md` lists the fields."""


@dataclass(frozen=True)
class Settings:
    """A suite's settings for all cells that may change a result: part of every key."""

    budget: Budget = field(default_factory=Budget)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    threads: int = 1
    compile: Literal["off", "default", "reduce-overhead", "cuda-graphs"] = "off"
    """Training by `torch.compile`, where "reduce-overhead" uses CUDA graphs, or by "cuda-graphs" of whole steps."""
    tf32: bool = False
    """Whether matrix products on a GPU may round their factors to TF32."""
    deterministic: bool = True
    """Only algorithms that give the same bits each time, on a GPU too."""
    accumulate: bool = False
    """When out of memory, try once more with half a batch at a time; BatchNorm then sees the halves."""
    selection: Literal["last", "best-val"] = "last"
    """Which weights of a fine-tuning count: the last, or those of the checkpoint that is best on val."""
    augment: tuple[str, ...] = ()
    """How training images are changed at random."""
    portable: bool = False
    """Whether the instruction set is pinned to AVX2, which all newer x86-64 processors have."""
    checkpoints: int = 10
    """How often the network is evaluated during training, which is not part of its cost; 0 for never."""


@dataclass(frozen=True)
class Limits:
    """What stops a job and never changes a result: wall-clock seconds, and memory in GiB (None: its share of 80 %)."""

    seconds: float = 3600.0
    memory: float | None = None


_ALWAYS = itemgetter("kind", "dataset", "backbone", "label", "pool", "seed", "member")


class Cell(NamedTuple):
    """The place in the table that a job or a row fills, whatever its key: the same from run to run.

    Its text is for people and is never read back: names may hold slashes, so two cells may share a text.
    """

    kind: JobKind
    dataset: str
    backbone: str
    label: str
    pool: str
    seed: int
    member: int
    round: int
    trial: int
    size: int = 0
    draw: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Cell:
        """The cell of a row; `round`, `trial`, `size` and `draw` are 0 where the row doesn't give them."""
        get = row.get
        return cls._make((*_ALWAYS(row), get("round", 0), get("trial", 0), get("size", 0), get("draw", 0)))

    def fields(self) -> Record:
        """The fields of a row that say which cell it fills; `size` and `draw` only where it is of part of a pool."""
        fields = self._asdict()
        return fields if self.size else {name: fields[name] for name in fields if name not in ("size", "draw")}

    @property
    def has_line(self) -> bool:
        """Whether a line of the board rests on it: a fusion, or member 0 of a scheme in round 0.

        All other cells are members, bounds, timings or points of a curve.
        """
        return _has_line(self.kind, self.member, self.round, self.size)

    @classmethod
    def of_line(cls, row: Mapping[str, Any]) -> bool:
        """The same of a row, without making its cell."""
        return _has_line(row["kind"], row["member"], row.get("round", 0), row.get("size", 0))

    def __str__(self) -> str:
        trial = [f"t{self.trial}"] if self.kind == "trial" else []
        part = [f"n{self.size}", f"d{self.draw}"] if self.size else []
        return "/".join([*self[:5], f"s{self.seed}", f"m{self.member}", f"r{self.round}", *trial, *part])


def _has_line(kind: str, member: int, round_: int, size: int) -> bool:
    """The only place that has this rule."""
    return (kind == "fuse" and not size) or (kind == "tune" and not member and not round_)


@dataclass(frozen=True)
class Job:
    """One node of the plan.

    `artifact` is the content address of what it makes, `key` that of its row, which covers the metrics too, and `parts`
    what went into them, by name. `also_test` are further data sets whose test examples are scored, `source`
    the one that the pretrained head is scored on. `level` is a
    fusion's, `needs` what the strategy is given besides the training data. `skip` is a reason known before any compute.

    Its inputs are artifacts. `base` is the pretrained backbone; a pool across backbones has none. `start` is the fused
    network that a later round starts from. `fused` are the members of a pool, by name. `trials` are those that a search
    chooses from, or whose results a trial needs. `timed` is the model whose latency is measured.

    In a pool across data sets `tasks` are the data sets of the members of `fused`, one for each, `own` the members of
    round 0, whose scores all others are divided by, and `statistics` the policy for BatchNorm. `aggregate` says how
    their scores become one figure, where a suite does. `made_for` is the data set that a backbone without source data
    was made for, where that is not the job's own. `search` looks for the parameters of the fusion `strategy`; of a
    scheme that is searched the search is the `strategy` itself. `followed_by` are the stages that change what was
    fused, and `saw` the data that each of them gets, in words.

    For a curve over part of a pool, `subset` names its tasks or members in the order in which they arrive, `size` says
    how many they are, and `draw` which of the subsets of that size it is.
    """

    kind: JobKind
    backbone: Ref
    dataset: Ref | None = None
    strategy: Ref | None = None
    label: str = ""
    pool: str = ""
    seed: int = 0
    member: int = 0
    round: int = 0
    trial: int = 0
    metrics: tuple[Ref, ...] = ()
    also_test: tuple[Ref, ...] = ()
    base: str = ""
    start: str = ""
    fused: tuple[tuple[str, str], ...] = ()
    trials: tuple[str, ...] = ()
    timed: str = ""
    tasks: tuple[Ref, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    statistics: str = ""
    made_for: Ref | None = None
    aggregate: tuple[Any, ...] = ()
    source: Ref | None = None
    search: Ref | None = None
    followed_by: tuple[Ref, ...] = ()
    saw: tuple[str, ...] = ()
    size: int = 0
    draw: int = 0
    subset: tuple[str, ...] = ()
    level: str = ""
    needs: tuple[str, ...] = ()
    skip: str = ""
    artifact: str = ""
    key: str = ""
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Artifacts that must exist before this job can start.

        A timed fusion is made again from its members; of one that was searched the artifact tells its parameters.
        """
        timed = self.timed if self.search or not self.fused else ""
        members = dict.fromkeys(member for _, member in (*self.fused, *self.own))
        return (*filter(None, (self.base, self.start, timed)), *members, *self.trials)

    @property
    def plugins(self) -> Iterator[tuple[PluginKind, Ref]]:
        """All that it names."""
        yield "backbone", self.backbone
        if self.strategy:
            yield ("fusion" if self.fused else "scheme"), self.strategy
        if self.search:
            yield "scheme", self.search
        for stage in self.followed_by:
            yield "fusion", stage
        for dataset in (self.dataset, self.made_for, self.source, *self.also_test, *self.tasks):
            if dataset:
                yield "dataset", dataset
        for metric in self.metrics:
            yield "metric", metric

    @property
    def members(self) -> NoReturn:
        """Refuse what held four different things before each had its name."""
        raise PluginError("the members of a Job are called by what they are now: fused, trials, timed")

    @cached_property
    def place(self) -> Cell:
        """The cell it fills."""
        names = str(self.dataset or ""), str(self.backbone), self.label, self.pool
        return Cell(self.kind, *names, self.seed, self.member, self.round, self.trial, self.size, self.draw)

    @property
    def cell(self) -> str:
        """The text of its cell, for people."""
        return str(self.place)


@dataclass(frozen=True)
class Crew:
    """What an executor is started with."""

    workers: int
    threads: int
    memory: int
    """Bytes that one job may take before it is stopped as `oom`; 0 for no limit."""
    preload: tuple[str, ...] = ()
    """Modules that every job imports, none of them a plugin's: a process may import them before its job's time runs."""
    prepare: Callable[[], object] | None = None
    """What every job begins with, the same for all, such as opening the plugins. A process may do it once and be copied
    for each job, if nothing is left in it that copies would share; an executor may as well leave it to the jobs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables with which the processes of jobs must be started."""
    calls: int = 0
    """About how many there will be."""
    kind: Callable[[], Mapping[str, str]] | None = None
    """What of a machine and its programs decides the bits: one that gives another answer than the driver's can't carry
    out jobs."""
    together: Callable[[Any], bool] | None = None
    """Whether an order leaves its process as it found it, so that others that do may follow in the same one."""


class Executor(Protocol):
    """Carries out calls, each within its time limit, and isolates them from each other."""

    @property
    def parallel(self) -> bool:
        """False if calls run in the driver's own process, one after the other."""

    def start(self, crew: Crew) -> None:
        """Get ready; called once."""

    def submit(self, call: Callable[[T_contra], Record], order: T_contra, seconds: float) -> Future[Record]:
        """Carry out `call(order)` elsewhere.

        The future raises `TimeoutError` past `seconds`, `MemoryExceeded` past the crew's memory, `WorkerDied` if the
        process ended, and otherwise the call's own exception.
        """

    def stop(self) -> None:
        """End every worker now, and all processes it started; may be called twice."""


class Agenda(Protocol):
    """What an observer sees of a plan."""

    @property
    def name(self) -> str:
        """The suite's name."""

    @property
    def jobs(self) -> Sequence[Job]:
        """Every job, each after those it needs."""


class Observer(Protocol):
    """A frozen dataclass that follows a run in the driver's process; it needs at least one of these methods.

    If it raises, it is not called again, and the run continues. Its printed output goes to stderr.
    """

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:
        """`waiting` jobs of the plan need a row, `done` have one."""

    def job_begins(self, job: Job) -> None:
        """A worker was given the job."""

    def job_ends(self, job: Job, record: Record) -> None:
        """The job has its row; one that is blocked or skipped never began."""

    def run_ends(self, records: Sequence[Record]) -> None:
        """No more jobs will run. Rows are missing if the run was stopped."""

    def note(self, text: str) -> None:
        """One sentence worth reading, such as the complaint of another observer."""


@dataclass(frozen=True)
class Verdict:
    """One judgement of a comparison: of `measure`, where `cell` says, which may be a line or all cells (`scope`).

    `base` and `new` are both values, NaN where there is none, `p` the p-value after all corrections, of a change in the
    direction that was seen. `change` is above 0 where `new` is better: in accuracy, or as a share of the base's value.
    `visible` is the smallest loss that would have been caught with a chance of 80 %, and `better` the direction of the
    measure.
    """

    cell: str
    judgement: Judgement
    base: float
    new: float
    p: float
    reason: str = ""
    measure: str = ""
    scope: Scope = "cell"
    change: float = math.nan
    visible: float = math.nan
    better: Literal["higher", "lower"] = "lower"
