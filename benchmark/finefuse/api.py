"""The same as the command line, from Python: `finefuse.run("quick")`. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finefuse.declare.plan import Plan, make_plan
from finefuse.declare.suite import Suite, load_suite
from finefuse.deploy.wanted import card_of, check_target, find_row
from finefuse.device import default_workers, resolve_device
from finefuse.discovery.registry import Door, Registry
from finefuse.engine.drive.schedule import Watcher, run_plan
from finefuse.engine.store.artifacts import default_store
from finefuse.errors import FinefuseError
from finefuse.progress import BAD, make_progress
from finefuse.records import read_results
from finefuse.types import Executor, Record, Ref

if TYPE_CHECKING:
    import pandas as pd

    from finefuse.judge.board.leaderboard import Leaderboard
    from finefuse.judge.compare import Comparison

SuiteSource = str | Path | Mapping[str, Any]
"""A suite's name, its file, or its content as a dictionary."""


@dataclass(frozen=True)
class Run:
    """What a run gives back; a notebook shows its leaderboard."""

    folder: Path
    """Where the records and reports lie."""
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
    """What `export` wrote: the file, its model card, the row's cell, and what was chosen where several matched."""

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
    suite: SuiteSource, *, device: str = "auto", only: str | Sequence[str] = (), plugins: Door | Sequence[Door] = ()
) -> Plan:
    """The jobs of a suite in the order of their needs, each with its key.

    Args:
        suite: name of a suite, path to a TOML file, or its content as a dictionary.
        device: `auto`, `cpu`, `cuda` or `cuda:n`: another kind of device gives other keys.
        only: shell-style patterns on the labels of schemes and fusions; what those need is kept.
        plugins: files, modules or objects to use besides what is installed.

    Raises:
        FinefuseError: with one sentence about what is wrong and where.
    """
    return _planned(suite, Registry(_doors(plugins)), resolve_device(device), only)


def run(
    suite: SuiteSource,
    *,
    workers: int | None = None,
    device: str = "auto",
    executor: str | None = None,
    out: str | Path | None = None,
    only: str | Sequence[str] = (),
    plugins: Door | Sequence[Door] = (),
    store: str | Path | None = None,
    retry: bool = False,
    quiet: bool = False,
    watcher: Watcher | None = None,
) -> Run:
    """Carry out what is left to do of a suite and write its reports.

    Args:
        suite: name of a suite, path to a TOML file, or its content as a dictionary.
        workers: jobs at a time; None for one per core, or one per GPU; 0 for this very process.
        device: `auto`, `cpu`, `cuda` or `cuda:n`.
        executor: None for the default in other processes, or in this one where a plugin is an object, which they can't
            import.
        out: folder of the results; None for `results/<suite>`.
        only: shell-style patterns on the labels of schemes and fusions; what those need is kept.
        plugins: files, modules or objects to use besides what is installed.
        store: folder of the artifacts; None for `$FINEFUSE_STORE` or the user's cache folder.
        retry: carry out again what failed.
        quiet: show no progress.
        watcher: is told of the progress instead.

    Raises:
        FinefuseError: before any compute, if suite, plugins or folders are wrong; what a job raises becomes its row.
    """
    registry = Registry(_doors(plugins))
    device = resolve_device(device)
    todo = _planned(suite, registry, device, only)
    folder = Path(out or Path("results") / todo.suite.name)
    with _watching(watcher, registry, quiet=quiet) as told:
        for said in todo.remarks:
            told.note(said)
        run_plan(
            todo,
            registry,
            executor=_executor(registry, executor, workers),
            workers=workers or default_workers(device, todo.suite.settings.threads),
            device=device,
            out=folder,
            store=Path(store or default_store()),
            watcher=told,
            retry=retry,
        )
    return _results(folder, registry)


def report(folder: str | Path, *, reporter: str | None = None, plugins: Door | Sequence[Door] = ()) -> Run:
    """Write the reports of a results folder anew from its records.

    Args:
        folder: a results folder, as `run` leaves it.
        reporter: just this one; None for all.
        plugins: files, modules or objects to use besides what is installed.

    Raises:
        FinefuseError: if the folder holds no records that can be read, or no such reporter is installed.
    """
    registry = Registry(_doors(plugins))
    if reporter is not None:
        registry.find("reporter", reporter)
    return _results(Path(folder), registry, reporter)


def compare(base: str | Path, new: str | Path, *, alpha: float = 0.05, margin: float = 0.01) -> Comparison:
    """Compare two results folders cell by cell: `passed` says whether the second may take the first's place.

    Args:
        base: the results folder to hold against.
        new: the results folder in question.
        alpha: chance of a false alarm over all cells together.
        margin: a difference in accuracy too small to matter: it tells `unchanged` from `inconclusive`.

    Raises:
        FinefuseError: if `alpha` or `margin` makes no sense, or a folder can't be read.
    """
    from finefuse.judge.compare import compare as judge

    return judge(Path(base), Path(new), alpha=alpha, margin=margin)


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
    device: str | None = None,
    force: bool = False,
    plugins: Door | Sequence[Door] = (),
    store: str | Path | None = None,
) -> Exported:
    """Write the module that a row measured, ensembles too, to a file that needs no finefuse, and a model card.

    Args:
        folder: a results folder.
        row: a row's cell, or a label, narrowed by what follows where several rows have it.
        to: `file.pt2` (torch.export), `file.onnx`, or `file.safetensors` for the weights of one network.
        pool: the pool that is fused.
        dataset: with its parameters or without.
        backbone: with its parameters or without.
        seed: None for the first.
        round: of a fusion with several, from 0.
        device: where an ensemble is fused again; None for the kind of device that the row was measured on.
        force: write over files that exist.
        plugins: as in `run`.
        store: as in `run`.

    Raises:
        FinefuseError: if it can't be done; nothing is written then.
    """
    narrow = {"dataset": dataset, "backbone": backbone, "pool": pool, "seed": seed, "round": round}
    file = Path(to)
    found, note = find_row(Path(folder), row, narrow)
    check_target(file, force=force)
    registry = Registry(_doors(plugins))
    device = resolve_device(device or found["device"].split(":")[0])
    from finefuse.deploy.export import export as write

    write(found, file, store=Path(store or default_store()).absolute(), device=device, doors=registry.doors)
    return Exported(file, card_of(file), found["cell"], note)


def _planned(suite: SuiteSource, registry: Registry, device: str, only: str | Sequence[str]) -> Plan:
    """The plan; an error about it is followed by notes about broken plugins, which may be its cause."""
    patterns = (only,) if isinstance(only, str) else tuple(only)
    try:
        return make_plan(load_suite(suite, registry), registry, device=device, only=patterns)
    except FinefuseError as error:
        for sentence in _broken(registry):
            error.add_note(sentence)
        raise


def _broken(registry: Registry) -> list[str]:
    return [f"plugin {info.name} is broken: {info.reason}" for info in registry.plugins() if info.status == "broken"]


@contextmanager
def _watching(watcher: Watcher | None, registry: Registry, *, quiet: bool) -> Iterator[Watcher]:
    """Who is told of the run, and first of all of plugins that are broken but not needed."""
    with nullcontext(watcher) if watcher else make_progress(quiet=quiet) as told:
        for sentence in _broken(registry):
            told.note(sentence)
        yield told


def _doors(plugins: Door | Sequence[Door]) -> tuple[Door, ...]:
    return tuple(plugins) if isinstance(plugins, (list, tuple)) else (plugins,)


def _executor(registry: Registry, name: str | None, workers: int | None) -> Executor:
    if workers is not None and workers < 0:
        raise FinefuseError(f"workers must be 0 or more, not {workers}")
    elsewhere = workers != 0 and all(isinstance(door, str) for door in registry.doors)
    executor: Executor = registry.build(
        "executor", Ref(name or registry.default("executor", "processes" if elsewhere else "in-process"))
    )
    return executor


def _results(folder: Path, registry: Registry, reporter: str | None = None) -> Run:
    from finefuse.judge.board.leaderboard import make_leaderboard

    found = read_results(folder)
    board = make_leaderboard(found.suite, found.rows, found.missing, found.refused)
    names = [reporter] if reporter else dict.fromkeys(found.entry.name for found in registry.entries("reporter"))
    written, complaints = write_reports(board, folder, registry, names)
    return Run(folder, found.rows, board, written, complaints)


def write_reports(
    board: Leaderboard, folder: Path, registry: Registry, names: Iterable[str]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Let each reporter write, and say which files came of it and, in a sentence each, which reporters failed."""
    written: list[Path] = []
    complaints: list[str] = []
    for name in names:
        try:
            written += registry.build("reporter", Ref(name)).write(board, folder)
        except FinefuseError as error:
            complaints.append(str(error))
        except Exception as error:  # a plugin's: it must not cost the others' reports
            complaints.append(f"the reporter {name!r} failed with {type(error).__name__}: {error}")
    return tuple(written), tuple(complaints)
