"""Two versions of the code on one machine, run in pairs: what changed is the code's doing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finefuse.errors import FinefuseError
from finefuse.judge.compare import Comparison, compare
from finefuse.judge.gate.policy import read_policy
from finefuse.repeat.environments import Environment, current_environment, named, of_working_tree
from finefuse.repeat.running import Work, check, run_suite

SIDES = ("base", "new")


def ab(
    base: str,
    new: str | None = None,
    *,
    suite: str = "quick",
    pairs: int = 5,
    only: Sequence[str] = (),
    device: str = "auto",
    portable: bool = False,
    workers: int | None = None,
    plugins: Sequence[str] = (),
    timeout: float | None = None,
    out: str | Path | None = None,
    gate: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare two versions of the code, run in turn on one machine: scores by the first pair of runs, times by all.

    Args:
        base: a git reference of the project in the current folder, an environment (its Python, or its folder), or a
            plugin file.
        new: another one; None for the project's working tree as it is, or for this environment where `base` is another.
        suite: name of a suite, or path to a TOML file.
        pairs: how often both are run, each time with a store of their own.
        only: shell-style patterns on the labels of schemes and fusions; what those need is kept.
        device: as in `run`.
        portable: as in `run`.
        workers: as in `run`.
        plugins: files or modules that both are given.
        timeout: how many seconds a run may take; None for any number.
        out: a new folder in which the records of all runs are kept; None for none.
        gate: keys of a suite's table `[gate]`, such as {"fail_on": {"accuracy": "0.5pp"}}.
        tell: is told of the progress.

    Raises:
        FinefuseError: if a version can't be had or run, nothing can be compared, or an option makes no sense.
    """
    gate = gate or {}
    read_policy({}, gate)
    if pairs < 1:
        raise FinefuseError(f"at least one pair of runs is needed, not {pairs}")
    work = Work(suite, tuple(only), device, portable, workers, tuple(plugins), timeout)
    with _new_folder(out) as folder:
        sides = _both(base, new, Path.cwd())
        for side in sides:
            check(side, work)
        if any(_is_python(side) for side in sides):
            gate = {**gate, "allow": [*gate.get("allow", ()), "versions"]}
        return _repeated(sides, work, gate, pairs, folder, tell or (lambda _: None))


@contextlib.contextmanager
def _new_folder(out: str | Path | None) -> Iterator[Path]:
    """The folder of all runs; one that was not named is gone afterwards."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="finefuse-ab-") as scratch:
            yield Path(scratch)
        return
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FinefuseError(f"{out} is not empty: give a new folder, as what was run before can't be timed again.")
    yield folder


def _both(base: str, new: str | None, folder: Path) -> tuple[Environment, Environment]:
    first = named(base, folder)
    if new is not None:
        return first, named(new, folder)
    if first.doors:
        raise FinefuseError(f"{base} is a plugin file, so a second one must be given to compare it with.")
    return first, current_environment() if _is_python(first) else of_working_tree(folder)


def _is_python(environment: Environment) -> bool:
    """Whether it is one that was there, and may have other versions of everything."""
    return not environment.doors and not environment.project


def _repeated(
    sides: Sequence[Environment],
    work: Work,
    gate: Mapping[str, Any],
    pairs: int,
    out: Path,
    tell: Callable[[str], None],
) -> Comparison:
    found: list[tuple[Path, Path]] = []
    for i in range(pairs):
        folders = [out / f"{side}-{i + 1}" for side in SIDES]
        turns = list(zip(sides, folders, strict=True))
        for environment, folder in turns if i % 2 == 0 else reversed(turns):  # a machine that warms up harms neither
            tell(f"pair {i + 1} of {pairs}: {environment.name}")
            run_suite(environment, work, folder)
        found.append((folders[0], folders[1]))
        if i == 0:
            first = compare(*found[0], **gate)  # what makes no sense is told before the others are run
    whole = compare(*found[0], found[1:], **gate) if pairs > 1 else first
    return replace(whole, base=sides[0].name, new=sides[1].name)
