"""Two versions of the code on one machine, run in pairs: what changed is the code's doing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finefuse.errors import FinefuseError
from finefuse.judge.compare import Comparison, compare
from finefuse.judge.gate.policy import read_policy
from finefuse.repeat.environments import Environment, current_environment, named, of_working_tree
from finefuse.repeat.running import Work, check, run_suite

SIDES = ("base", "new")


def compare_in_pairs(
    base: str,
    new: str | None,
    work: Work,
    gate: Mapping[str, Any],
    *,
    tell: Callable[[str], None],
    pairs: int = 5,
    out: Path | None = None,
    folder: Path | None = None,
) -> Comparison:
    """Run a suite with both versions in turn, and judge the first pair by its bits and all of them by their times.

    `base` and `new` are what `environments.named` takes, of the project in `folder` (None: the current one); without
    `new` it is the project's working tree, or this environment where `base` is another. Each run has a store of its own
    and its records in a folder of `out`, which is kept if it is given. `gate` are keys of a suite's table `[gate]`, and
    `tell` gets a sentence as each run begins.

    Raises:
        FinefuseError: if a version can't be had or run, or the gate makes no sense.
        StoreError: if nothing can be compared.
    """
    read_policy({}, gate)
    with contextlib.ExitStack() as kept:
        if out is None:
            out = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="finefuse-ab-")))
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FinefuseError(f"{out} is not empty: give a new folder, as what was run before can't be timed again.")
        sides = _both(base, new, folder or Path.cwd())
        for side in sides:
            check(side, work)
        if any(_is_python(side) for side in sides):
            gate = {**gate, "allow": [*gate.get("allow", ()), "versions"]}
        return _repeated(sides, work, gate, tell, pairs, out)


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
    tell: Callable[[str], None],
    pairs: int,
    out: Path,
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
