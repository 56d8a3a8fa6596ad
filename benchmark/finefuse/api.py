"""The same as the command line, from Python: `finefuse.run("quick")`. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finefuse.declare.choice import Choice, RunChoice, all_chosen, chosen
from finefuse.declare.facts import Facts
from finefuse.declare.plan import Plan, make_plan
from finefuse.declare.suite import Suite, load_suite
from finefuse.deploy.wanted import card_of, check_target, find_row, find_task
from finefuse.device import default_workers, resolve_device
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Door, Registry
from finefuse.engine.drive.observers import Observers
from finefuse.engine.drive.schedule import run_plan
from finefuse.engine.store.artifacts import default_store, shared_room
from finefuse.errors import FinefuseError
from finefuse.judge.asked import against as against
from finefuse.judge.asked import board as board
from finefuse.judge.asked import compare as compare
from finefuse.judge.asked import overall as overall
from finefuse.judge.asked import pair as pair
from finefuse.processor import refuse_changed, refuse_unpinned
from finefuse.progress import BAD, Progress, make_progress
from finefuse.types import Cell, Executor, First, Observer, Record, Ref

if TYPE_CHECKING:
    import pandas as pd

    from finefuse.judge.board.leaderboard import Leaderboard
    from finefuse.judge.site import Site
    from finefuse.judge.watching import Watching

ShowBest = Callable[[Sequence[First]], None]
SuiteSource = str | Path | Mapping[str, Any]
"""A suite's name, its file, or its content as a dictionary."""
Only = str | Cell | Sequence[str | Cell]
"""What of a suite is kept: patterns on the labels of schemes and fusions, or cells."""


@dataclass(frozen=True)
class Run:
    """What a run gives back; a notebook shows its leaderboard."""

    folder: Path
    """The folder of the records and reports."""
    rows: Sequence[Record]
    """One flat record per planned job; `docs/records.md` lists the fields."""
    board: Leaderboard
    written: tuple[Path, ...] = ()
    """The reports."""
    complaints: tuple[str, ...] = ()
    """A sentence per reporter that failed."""

    @cached_property
    def records(self) -> pd.DataFrame:
        """The records as a table, one row per planned job."""
        from finefuse.judge.frame import to_frame

        return to_frame(self.rows)

    @property
    def bad(self) -> list[Record]:
        """The rows that are `failed`, `timeout`, `oom` or `blocked`."""
        return [row for row in self.rows if row["status"] in BAD]

    @property
    def ok(self) -> bool:
        """Whether every row is `ok` or `skipped` and every report was written."""
        return not self.bad and not self.complaints

    def _repr_markdown_(self) -> str:
        return self.board.to_markdown()


@dataclass(frozen=True)
class Exported:
    """What `export` wrote: the file, its model card, the row's cell, and a note if it chose among several rows."""

    file: Path
    card: Path
    cell: str
    note: str = ""


def check(suite: SuiteSource, *, plugins: Door | Sequence[Door] = ()) -> Suite:
    """Read a suite, resolve all it names and plan it, without computing anything.

    Args:
        suite: name of a suite, path to a TOML file, or its content as a dictionary.
        plugins: files, modules or objects to use besides what is installed.

    Raises:
        FinefuseError: with one sentence about what is wrong and where.
    """
    return plan(suite, device="cpu", plugins=plugins).suite


def plan(
    suite: SuiteSource,
    *,
    device: str = "auto",
    only: Only = (),
    plugins: Door | Sequence[Door] = (),
    portable: bool = False,
) -> Plan:
    """The jobs of a suite, each after those it needs, with their keys.

    Args:
        suite: name of a suite, path to a TOML file, or its content as a dictionary.
        device: `auto`, `cpu`, `cuda` or `cuda:n`; keys depend on the kind of device.
        only: shell-style patterns on the labels of schemes and fusions, or cells; what those need is kept.
        plugins: files, modules or objects to use besides what is installed.
        portable: as in `run`.

    Raises:
        FinefuseError: with one sentence about what is wrong and where.
    """
    return _planned(suite, Registry(_doors(plugins)), device, only, portable=portable)[0]


def run(
    suite: SuiteSource,
    *,
    workers: int | None = None,
    device: str = "auto",
    executor: Choice | None = None,
    reporters: Choice | Sequence[Choice] | None = None,
    out: str | Path | None = None,
    only: Only = (),
    plugins: Door | Sequence[Door] = (),
    store: str | Path | None = None,
    retry: bool = False,
    quiet: bool = False,
    observers: Choice | Sequence[Choice] | None = None,
    watcher: Observer | None = None,
    portable: bool = False,
    watch: bool = False,
) -> Run:
    """Carry out the jobs of a suite that are left to do and write its reports.

    Args:
        suite: name of a suite, path to a TOML file, or its content as a dictionary.
        workers: jobs at a time; None for the suite's number, else one per core or GPU; 0 for this very process.
        device: `auto`, `cpu`, `cuda` or `cuda:n`.
        executor: `"name"`, `"name(key=value)"`, a table with `use`, or a `Ref`; None for the suite's, else the default.
        reporters: which reports are written, in the same form; `()` for none, None for the suite's choice, else all.
        out: folder of the results; None for `results/<suite>`.
        only: shell-style patterns on the labels of schemes and fusions, or cells; what those need is kept.
        plugins: files, modules or objects to use besides what is installed.
        store: folder of the artifacts; None for `$FINEFUSE_STORE` or the user's cache folder.
        retry: run failed jobs again.
        quiet: show no progress.
        observers: what follows the run, chosen like reporters; None for the suite's choice.
        watcher: an observer in place of the progress display.
        portable: pin the instruction set to AVX2 even if the suite doesn't, for the same bits on other machines.
        watch: write the reports while the run goes on too, and tell the best lines so far.

    Raises:
        FinefuseError: before any compute, if suite, plugins or folders are wrong. Errors of a job go to its row.
    """
    registry = Registry(_doors(plugins))
    todo, device = _planned(suite, registry, device, only, portable=portable)
    carrier, workers = _executor(registry, todo.suite, executor, workers, device)
    refs = _reporters(registry, reporters, todo.suite.run.reporters)
    told_too = _observers(registry, todo.suite.run, observers)
    out, store = Path(out or Path("results") / todo.suite.name), _store(store)
    carry_out = partial(run_plan, todo, registry, executor=carrier, workers=workers, device=device, retry=retry)
    with _watching(watcher, registry, todo, told_too, quiet=quiet, out=out, refs=refs, watch=watch) as told:
        carry_out(out=out, store=store, observers=told)
    return _results(out, registry, refs)


def _store(given: str | Path | None) -> Path:
    """The folder of the artifacts; how much of it jobs may share is looked at now, and not first by every job."""
    shared_room()
    return Path(given or default_store())


def report(
    folder: str | Path,
    *,
    reporters: Choice | Sequence[Choice] | None = None,
    plugins: Door | Sequence[Door] = (),
    reporter: str | None = None,
) -> Run:
    """Write the reports of a results folder again from its records.

    Args:
        folder: a results folder that `run` wrote; for reporters that are named also one of which only
            `leaderboard.json` was kept.
        reporters: which reports are written: `"name"`, `"name(key=value)"`, a table with `use`, or a `Ref`, or several
            of them; None for all but those that write only on request.
        plugins: files, modules or objects to use besides what is installed.
        reporter: the former name of `reporters`, for one.

    Raises:
        FinefuseError: if the folder holds no records that can be read, or no such reporter is installed.
    """
    registry = Registry(_doors(plugins))
    refs = _reporters(registry, reporter if reporters is None else reporters)
    return _results(Path(folder), registry, refs)


def site(
    folder: str | Path,
    out: str | Path,
    *,
    reporters: Choice | Sequence[Choice] | None = None,
    plugins: Door | Sequence[Door] = (),
) -> Site:
    """Write the reports of many results folders as one static site with an index.

    Args:
        folder: a folder of results folders; of some only `leaderboard.json` may have been kept.
        out: the folder of the site.
        reporters: as in `report`.
        plugins: as in `report`.

    Raises:
        FinefuseError: if there are no results, one can't be read, or nothing can be written.
    """
    from finefuse.judge.site import make_site

    registry = Registry(_doors(plugins))
    return make_site(Path(folder), Path(out), registry, _reporters(registry, reporters))


def export(
    folder: str | Path,
    row: str,
    to: str | Path,
    *,
    pool: str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    seed: int | None = None,
    round: int | None = None,  # noqa: A002 - it is called so in the rows
    task: str | None = None,
    all_tasks: bool = False,
    device: str | None = None,
    force: bool = False,
    plugins: Door | Sequence[Door] = (),
    store: str | Path | None = None,
) -> Exported:
    """Write the module that a row measured, ensembles too, to a file that needs no finefuse, and a model card.

    Args:
        folder: a results folder.
        row: a row's cell, or a label, narrowed by the arguments below if several rows have it.
        to: `file.pt2` (torch.export), `file.onnx`, or `file.safetensors` for the weights of one network.
        pool: the pool that is fused.
        dataset: with its parameters or without.
        backbone: with its parameters or without.
        seed: None for the first.
        round: of a fusion with several, from 0.
        task: of a pool across data sets the one that the file is for.
        all_tasks: of such a pool one file for all, with the outputs for each task side by side.
        device: where an ensemble is fused again; None for the kind of device that the row was measured on.
        force: overwrite existing files.
        plugins: as in `run`.
        store: as in `run`.

    Raises:
        FinefuseError: if it can't be done; nothing is written then.
    """
    narrow = {"dataset": dataset, "backbone": backbone, "pool": pool, "seed": seed, "round": round}
    file = Path(to)
    found, note = find_row(Path(folder), row, narrow)
    one = find_task(found, task, all_tasks=all_tasks)
    check_target(file, force=force)
    registry = Registry(_doors(plugins))
    device = resolve_device(device or found["device"].split(":")[0])
    from finefuse.deploy.export import export as write

    where = Path(store or default_store()).absolute()
    write(found, file, store=where, device=device, doors=registry.doors, task=one)
    return Exported(file, card_of(file), found["cell"], note)


def _planned(suite: SuiteSource, registry: Registry, device: str, only: Only, *, portable: bool) -> tuple[Plan, str]:
    """The plan, and the device that it is for."""
    loaded = load_suite(suite, registry, portable=portable)
    device = resolve_device(device, portable=loaded.settings.portable)
    kept = (only,) if isinstance(only, str | Cell) else tuple(only)
    return make_plan(loaded, registry, device=device, only=kept), device


def _check_process(executor: Executor, *, portable: bool) -> None:
    """Whether this process may carry out jobs, if it does so itself."""
    if not capabilities.parallel(executor):
        refuse_changed()
        if portable:
            refuse_unpinned()


@contextmanager
def _watching(
    watcher: Observer | None,
    registry: Registry,
    plan: Plan,
    more: Mapping[str, Observer],
    *,
    quiet: bool,
    out: Path,
    refs: tuple[Ref, ...] | None,
    watch: bool,
) -> Iterator[Observers]:
    """The observers of the run, first told of broken plugins that are not needed and of the plan's remarks.

    One of them looks at the folder on the way, to have the reports written if that is asked for, and to show the best
    lines if the display has room for them.
    """
    with nullcontext(watcher) if watcher else make_progress(quiet=quiet) as display:
        told = Observers({"progress": display, **more})
        show = display.show_best if isinstance(display, Progress) and display.has_panel else None
        if watch or show:
            told.add("watch", _watch(out, refs if watch else (), registry, told.note, show))
        for sentence in (*registry.complaints(), *plan.remarks):
            told.note(sentence)
        yield told


def _watch(
    out: Path,
    refs: tuple[Ref, ...] | None,
    registry: Registry,
    tell: Callable[[str], None],
    show: ShowBest | None,
) -> Watching:
    from finefuse.judge.reports import report_folder
    from finefuse.judge.watching import EVERY, SOON, Watching

    every = SOON if refs == () else EVERY
    return Watching(partial(report_folder, out, registry, refs), tell, show=show, every=every)


def _observers(registry: Registry, suite: RunChoice, given: Choice | Sequence[Choice] | None) -> Mapping[str, Observer]:
    """The observers besides the display, made and checked before any compute."""
    refs, facts = suite.observers if given is None else all_chosen("observer", given), Facts(registry)
    for ref in refs:
        facts.check("observer", ref)
    return {str(ref): facts.instance("observer", ref) for ref in refs}


def _doors(plugins: Door | Sequence[Door]) -> tuple[Door, ...]:
    return tuple(plugins) if isinstance(plugins, (list, tuple)) else (plugins,)


def _executor(
    registry: Registry, suite: Suite, given: Choice | None, workers: int | None, device: str
) -> tuple[Executor, int]:
    """The executor and the number of workers that were given, else the suite's, else the default."""
    if workers is not None and workers < 0:
        raise FinefuseError(f"workers must be 0 or more, not {workers}")
    ref = suite.run.executor if workers != 0 else None
    workers = suite.run.workers if workers is None else workers
    if given is not None:
        ref = chosen("executor", given)
    if ref is None:
        importable = all(isinstance(door, str) for door in registry.doors)
        ref = Ref(registry.default("executor", "processes" if workers != 0 and importable else "in-process"))
    executor = registry.build("executor", ref)
    _check_process(executor, portable=suite.settings.portable)
    threads, others = suite.settings.threads, capabilities.elsewhere(executor)
    return executor, workers or (others.room(threads) if others else default_workers(device, threads))


def _reporters(
    registry: Registry, given: Choice | Sequence[Choice] | None, suite: tuple[Ref, ...] | None = None
) -> tuple[Ref, ...] | None:
    """The chosen reports, None for all; one that can't be made is an error before any compute."""
    refs = suite if given is None else all_chosen("reporter", given)
    for ref in refs or ():
        registry.build("reporter", ref)
    return refs


def _results(folder: Path, registry: Registry, refs: tuple[Ref, ...] | None) -> Run:
    from finefuse.judge.reports import report_folder

    found = report_folder(folder, registry, refs)
    return Run(folder, found.rows, found.board, found.written, found.complaints)
