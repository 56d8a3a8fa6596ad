"""Runs cells of anyone's results again, from nothing, and certifies what that came to."""

from __future__ import annotations

import hashlib
import platform
import secrets
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from finefuse import api
from finefuse.api import SuiteSource
from finefuse.declare.keys import RESULTS_VERSION, environment
from finefuse.declare.plan import Plan
from finefuse.declare.suite_text import open_suite
from finefuse.discovery.registry import Door, Registry
from finefuse.errors import FinefuseError, SuiteError
from finefuse.judge.certificates import Certificate, Checked, digests
from finefuse.records import Records, Results, read_results
from finefuse.repeat.alike import TOLERANCE, alike
from finefuse.rows import SCORED
from finefuse.types import Cell, Observer, Record
from finefuse.version import __version__

DRAWN = ("ok", "failed")
"""Statuses of rows that can be drawn: what ran out of time or memory depends on the machine."""
RESTS = "version of "
"""How the parts of keys begin that are versions of what plugins rest on."""


def verify(
    folder: str | Path,
    *,
    sample: int,
    seed: int | None = None,
    suite: SuiteSource | None = None,
    by: str = "",
    plugins: Door | Sequence[Door] = (),
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
    watcher: Observer | None = None,
) -> Certificate:
    """Run random cells of a results folder again, with all that they need and from an empty store.

    Args:
        folder: a results folder.
        sample: how many cells; all where there are fewer.
        seed: draws them; None for one that can't be foreseen, least of all by whoever made the results.
        suite: as in `run`; None for what the folder's plan says.
        by: who vouches for it.
        plugins: as in `run`; those that the plan names are only used if they are given here too.
        device: as in `run`; None for the kind that the rows were measured on.
        workers: as in `run`.
        quiet: as in `run`.
        watcher: as in `run`.

    Raises:
        FinefuseError: if the folder, the suite or a plugin can't be read, or there is nothing to draw from.
    """
    folder, seed = Path(folder), secrets.randbelow(2**32) if seed is None else seed
    before, found = digests(folder), read_results(folder)
    rows = {Cell.of(row): row for row in found.rows}
    chosen, doors = draw(rows, sample, seed), _doors(folder, plugins)
    source = suite if suite is not None else suite_of(folder, found, Registry(doors))
    device = device or str(rows[chosen[0]].get("device") or "cpu").partition(":")[0]
    how: dict[str, Any] = {"device": device, "plugins": doors, "portable": bool(rows[chosen[0]].get("portable"))}
    planned = api.plan(source, **how)
    again = _run_again(source, planned, chosen, {**how, "workers": workers, "quiet": quiet, "watcher": watcher})
    return Certificate(
        suite=found.suite,
        records=before[0],
        plan=before[1],
        seed=seed,
        of=len(drawable(rows)),
        checked=tuple(_checked(chosen, rows, again)),
        by=by,
        **_surroundings(planned, device, again),
    )


def _run_again(
    source: SuiteSource, planned: Plan, chosen: Sequence[Cell], how: Mapping[str, Any]
) -> dict[Cell, Record]:
    """The rows of those cells that the suite has, and of what they need, made with a store of their own."""
    known = {job.place for job in planned.jobs}.intersection(chosen)
    if not known:
        return {}
    with tempfile.TemporaryDirectory(prefix="finefuse-verify-") as scratch:
        out, store = Path(scratch, "out"), Path(scratch, "store")
        run = api.run(source, only=list(known), out=out, store=store, reporters=(), observers=(), **how)
    return {Cell.of(row): row for row in run.rows}


def drawable(rows: Mapping[Cell, Record]) -> list[Cell]:
    """The cells that can be drawn: those whose scores a board shows, lines, bounds of pools and points of curves."""
    return [cell for cell, row in rows.items() if row["status"] in DRAWN and _on_board(cell)]


def _on_board(cell: Cell) -> bool:
    return cell.kind in SCORED and (cell.has_line or cell.kind == "pool" or bool(cell.size))


def draw(rows: Mapping[Cell, Record], sample: int, seed: int) -> list[Cell]:
    """Cells drawn by a seed, the same in whatever order the rows stand.

    Raises:
        FinefuseError: if `sample` is below 1 or there are none.
    """
    if sample < 1:
        raise FinefuseError(f"a sample has 1 cell or more, not {sample}")
    able = drawable(rows)
    if not able:
        raise FinefuseError("there is no row of a scheme, a fusion or a pool's bounds that could be run again")
    return sorted(able, key=lambda cell: hashlib.sha256(f"{seed} {tuple(cell)}".encode()).hexdigest())[:sample]


def suite_of(folder: Path, found: Results, registry: Registry) -> SuiteSource:
    """The suite that a folder's plan names, from its file if that still holds the same, else as the plan keeps it.

    Raises:
        SuiteError: if the plan keeps none, and none of its name is known.
    """
    run = Records(folder).read_run()
    asked, table = str(run.get("suite") or found.suite), run.get("table")
    known = registry.suites()
    there = asked in known or Path(asked).is_file()
    if there and (table is None or open_suite(asked, known).data == table):
        return asked
    if isinstance(table, dict):
        return table
    raise SuiteError(f"{folder} doesn't keep its suite, and none is called {asked!r} here; give it with --suite")


def _doors(folder: Path, plugins: Door | Sequence[Door]) -> tuple[Door, ...]:
    """The plugins that are given: what a stranger's plan names is not imported without a word.

    Raises:
        FinefuseError: if it names some and none are given.
    """
    given = tuple(plugins) if isinstance(plugins, (list, tuple)) else (plugins,)
    if (named := Records(folder).read_run().get("plugins")) and not given:
        doors = " ".join(f"--plugin {door}" for door in named)
        raise FinefuseError(f"{folder} was made with {doors}; look at what that is, and give it, to have it run again")
    return given


def _checked(chosen: Sequence[Cell], rows: Mapping[Cell, Record], again: Mapping[Cell, Record]) -> Iterable[Checked]:
    """What each row comes to: the chosen ones first, then those that they need."""
    counts = {(row["dataset"], row["seed"]): row["n_test"] for row in again.values() if row.get("n_test")}
    asked = set(chosen)
    for cell in dict.fromkeys((*chosen, *again)):
        old, new, drawn = rows.get(cell), again.get(cell), cell in asked
        if old is None:
            yield Checked(str(cell), "", drawn, "different", "has no row, and a cell that was drawn needs it")
        elif new is None:
            yield Checked(str(cell), old["key"], drawn, "different", "is not in the suite")
        else:
            examples = counts.get((cell.dataset, cell.seed), 0)
            yield Checked(str(cell), old["key"], drawn, *alike(old, new, examples))


def _surroundings(planned: Plan, device: str, again: Mapping[Cell, Record]) -> dict[str, Any]:
    """Where, when and with what cells were run again, and what was asked of them."""
    return {
        "machine": next((str(row["machine"]) for row in again.values() if row.get("machine")), "no machine"),
        "environment": environment(device, planned.suite.settings),
        "versions": _versions(planned),
        "tolerance": TOLERANCE,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions(planned: Plan) -> dict[str, str]:
    """What it was run with: finefuse, its results, torch, Python, and what plugins rest on."""
    parts = {name: version for job in planned.jobs for name, version in job.parts}
    rest = {name.removeprefix(RESTS): version for name, version in parts.items() if name.startswith(RESTS)}
    own = {"finefuse": __version__, "results": str(RESULTS_VERSION), "torch": metadata.version("torch")}
    return own | {"Python": platform.python_version()} | rest
