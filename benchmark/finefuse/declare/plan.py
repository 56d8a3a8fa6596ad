"""A plan: every job of a suite, each after those it needs, with their content addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from finefuse.declare.curves import remark
from finefuse.declare.facts import Facts
from finefuse.declare.jobs import Planner
from finefuse.declare.suite import Suite
from finefuse.declare.suite_text import show, suggest
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError
from finefuse.types import Cell, Job, PluginKind, Ref

MAX_JOBS = 1_000_000
MAX_TOLD = 5_000_000
"""Earlier trials that the trials of searches are told of, all together: about a GiB of plan."""


@dataclass(frozen=True)
class Plan:
    """The jobs of a suite. A job comes after all that make its inputs; cells are unique, artifacts need not be.

    Two labels for the same thing are two cells with one artifact, which is computed once.
    """

    suite: Suite
    jobs: tuple[Job, ...]
    contents: Mapping[tuple[PluginKind, Ref], str] = field(default_factory=dict)
    """The fingerprints of data sets and backbones, which are in the addresses."""
    remarks: tuple[str, ...] = ()
    """One sentence each, for example about files that are left out or read in part, or what `augment` doesn't reach."""

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.suite.name


def make_plan(suite: Suite, registry: Registry, *, device: str = "cpu", only: Sequence[str | Cell] = ()) -> Plan:
    """Plan a suite, without torch and without loading data.

    `only` keeps the schemes and fusions whose labels match one of the shell-style patterns, the cells that are among
    it, and what these need.

    Raises:
        SuiteError: if a pattern matches nothing, a cell is not planned, the suite is too large, or two of its jobs
            would be one cell.
        PluginError: if a plugin can't answer for what its results depend on.
    """
    copies, facts = _copies(suite), Facts(registry)
    _refuse_too_many(suite, facts, copies)
    labels = _wanted_labels(suite, [pattern for pattern in only if isinstance(pattern, str)])
    cells = {cell for cell in only if isinstance(cell, Cell)}
    jobs = tuple(Planner(suite, facts, device, copies).jobs())
    _refuse_twins(suite, jobs)
    sources = filter(None, map(facts.source, suite.backbones))
    remarks = [said for ref in (*suite.datasets, *suite.also_test, *sources) for said in facts.remarks(ref)]
    remarks += [*_unaugmented(suite, facts), *remark(jobs)]
    _refuse_unplanned(suite, jobs, cells)
    kept = _keep(jobs, labels, cells) if only else jobs
    return Plan(suite, kept, facts.contents, tuple(dict.fromkeys(remarks)))


def _copies(suite: Suite) -> dict[str, int]:
    """How many members of each scheme are tuned."""
    return {s.label: max([1, *(p.copies for p in suite.pools if s.label in p.of)]) for s in suite.schemes}


def _unaugmented(suite: Suite, facts: Facts) -> list[str]:
    """Which schemes see no images that `augment` has changed."""
    idle = [line.label for line in suite.schemes if not facts.takes_steps(line.ref)]
    if not idle or not suite.settings.augment:
        return []
    changes = ", ".join(suite.settings.augment)
    return [f"augment ({changes}) changes nothing for schemes without steps: {', '.join(idle)}"]


def _refuse_too_many(suite: Suite, facts: Facts, copies: Mapping[str, int]) -> None:
    """Count before anything is expanded: the jobs, and what the trials of searches are told of earlier ones."""
    trials = {line.label: facts.trials(line.ref) for line in suite.schemes}
    tunings = Counter(copies)
    for fusion, pool, label in ((f, p, label) for f in suite.fusions for p in suite.pools for label in p.of):
        tunings[label] += (fusion.rounds - 1) * pool.copies
    groups = len(suite.pools) + sum(len(pool.sizes) * pool.subsets for pool in suite.pools)
    searched = [facts.trials(fusion.search, "fusion") for fusion in suite.fusions if fusion.search]
    fused = sum(fusion.rounds + len(fusion.choices) for fusion in suite.fusions) + sum(map(len, searched))
    held = sum(len(pool.held_out) * (1 + len(trials.get(pool.probe, ()))) for pool in suite.pools)
    tuned = sum(count * (1 + len(trials[label])) for label, count in tunings.items())
    repeated = len(suite.datasets) * len(suite.backbones) * len(suite.seeds)
    jobs = repeated * (tuned + held * len(suite.fusions) + (1 + fused) * groups)
    if jobs > MAX_JOBS:
        raise SuiteError(f"the suite asks for {jobs:,} jobs, and a plan holds at most {MAX_JOBS:,}", file=suite.file)
    told = sum(tunings[label] * sum(map(len, known)) for label, known in trials.items())
    told = repeated * (told + groups * sum(len(known) for one in searched for known in one))
    if told > MAX_TOLD:
        raise SuiteError(
            f"the trials of the suite's searches are told {told:,} times of an earlier one, and a plan holds at most "
            f"{MAX_TOLD:,}; take fewer trials, or a sampler that does not learn from them",
            file=suite.file,
        )


def _refuse_twins(suite: Suite, jobs: Sequence[Job]) -> None:
    """A fusion's later rounds are named after it and a scheme, and so may have the name of another such pair."""
    seen: set[Cell] = set()
    for job in jobs:
        if job.place in seen:
            raise SuiteError(f"{job.cell} names two jobs; give a scheme or fusion another `as`", file=suite.file)
        seen.add(job.place)


def _wanted_labels(suite: Suite, only: Sequence[str]) -> set[str]:
    labels = [line.label for line in (*suite.schemes, *suite.fusions)]
    wanted: set[str] = set()
    for pattern in only:
        found = {label for label in labels if label == pattern or fnmatchcase(label, pattern)}
        if not found:
            hint = suggest(pattern, labels)
            raise SuiteError(f"no scheme or fusion matches {show(pattern)}{hint}", file=suite.file)
        wanted |= found
    return wanted


def _refuse_unplanned(suite: Suite, jobs: Sequence[Job], cells: Collection[Cell]) -> None:
    if unknown := sorted(set(cells).difference(job.place for job in jobs)):
        raise SuiteError(f"the suite has no cell {unknown[0]}", file=suite.file)


def _keep(jobs: Sequence[Job], labels: Collection[str], cells: Collection[Cell]) -> tuple[Job, ...]:
    """The jobs with these labels and of these cells, what makes their inputs, and bounds of pools that labels fuse."""
    fused = {(job.pool, job.dataset, job.backbone) for job in jobs if job.kind == "fuse" and job.label in labels}

    def wanted(job: Job) -> bool:
        return (
            job.place in cells
            or job.label in labels
            or (job.kind == "pool" and (job.pool, job.dataset, job.backbone) in fused)
        )

    return _with_inputs(jobs, wanted)


def _with_inputs(jobs: Sequence[Job], wanted: Callable[[Job], bool]) -> tuple[Job, ...]:
    """The jobs that are wanted, and all that make their inputs."""
    kept: list[Job] = []
    needed: set[str] = set()
    for job in reversed(jobs):
        if wanted(job) or job.artifact in needed:
            kept.append(job)
            needed.update(job.inputs)
    return tuple(reversed(kept))
