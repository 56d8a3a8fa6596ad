"""One suite over versions of a dependency, each held against the first by the gate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from finefuse.errors import FinefuseError
from finefuse.judge.board import present
from finefuse.judge.board.terminal import Readable
from finefuse.judge.compare import compare
from finefuse.judge.gate.comparison import Comparison
from finefuse.judge.gate.policy import read_policy
from finefuse.repeat.environments import with_requirements
from finefuse.repeat.running import Work, check, run_suite
from finefuse.types import Bullets, Heading

SCHEMA = 1
_BASE = "the base"


@dataclass(frozen=True)
class Version:
    """A version of the matrix: its results, and how they compare with the first's.

    `comparison` is None for the first, and where `trouble` says why there are no results.
    """

    name: str
    folder: Path
    comparison: Comparison | None = None
    trouble: str = ""

    @property
    def regressed(self) -> bool:
        """Whether it doesn't pass, or couldn't be judged."""
        return bool(self.trouble) or (self.comparison is not None and not self.comparison.passed)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it doesn't pass."""
        return (self.trouble,) if self.trouble else self.comparison.failures if self.comparison else ()


@dataclass(frozen=True)
class Matrix(Readable):
    """A suite over versions, the first of which is the base."""

    suite: str
    versions: tuple[Version, ...]

    @property
    def first_regressed(self) -> Version | None:
        """The first version, in the order given, that doesn't pass."""
        return next((version for version in self.versions if version.regressed), None)

    @property
    def passed(self) -> bool:
        """Whether all versions pass."""
        return self.first_regressed is None

    def to_dict(self) -> dict[str, Any]:
        """All of it, each comparison as `compare --format json` has it."""
        first = self.first_regressed
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "suite": self.suite,
            "base": self.versions[0].name,
            "first_regressed": first.name if first else None,
            "versions": [_version(version) for version in self.versions],
        }

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def blocks(self) -> list[present.Block]:
        """Which version regresses first, and a row for each."""
        first = self.first_regressed
        title = f"FAILED: {first.name} is the first that regresses" if first else "passed: no version regresses"
        table = pd.DataFrame([_row(version) for version in self.versions], columns=["version", "verdict", "reason"])
        about = f"{self.suite}, each version against {self.versions[0].name}."
        listed = [f"{one.name}: {reason}" for one in self.versions for reason in one.reasons]
        return [Heading(title, 1), Bullets((about,)), table, *([Bullets(tuple(listed))] if listed else [])]


def _row(version: Version) -> tuple[str, str, str]:
    if version.comparison is None:
        return (version.name, "no results" if version.trouble else _BASE, "")
    counts = ", ".join(f"{count} {judgement}" for judgement, count in version.comparison.counts.items())
    return version.name, "regressed" if version.regressed else "passed", f"cells: {counts}"


def _version(version: Version) -> dict[str, Any]:
    found = version.comparison.to_dict() if version.comparison else None
    about = {"folder": str(version.folder), "passed": not version.regressed, "trouble": version.trouble}
    return {"name": version.name, **about, "comparison": found}


def matrix(
    suite: str,
    versions: Sequence[str],
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    device: str = "auto",
    portable: bool = False,
    workers: int | None = None,
    plugins: Sequence[str] = (),
    gate: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Matrix:
    """Run a suite with each of several versions of a dependency, and hold each against the first.

    Args:
        suite: name of a suite, or path to a TOML file.
        versions: requirements such as "torch==2.13", several for one environment with blanks between them.
        out: folder of the results, a folder in it for each version; None for `results/<suite>-matrix`.
        only: as in `run`.
        device: as in `run`.
        portable: as in `run`.
        workers: as in `run`.
        plugins: files or modules to use besides what is installed.
        gate: keys of a suite's table `[gate]`, which they change; that versions differ is allowed.
        tell: is told of the progress.

    Raises:
        FinefuseError: with fewer than two versions, if the folder is in use, or the first can't be run.
    """
    if len(versions) < 2 or len({" ".join(text.split()) for text in versions}) < len(versions):
        raise FinefuseError("a matrix takes two or more versions, each once: --with 'torch==2.13' --with 'torch==2.14'")
    target = Path(out or Path("results") / f"{Path(suite).stem}-matrix")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FinefuseError(f"{target} holds something already; give a new folder")
    work = Work(suite, tuple(only), device, portable, workers, tuple(plugins))
    given = {**(gate or {}), "allow": ["versions", *(gate or {}).get("allow", ())]}
    read_policy({}, given)  # a limit that makes no sense is told before anything runs
    return Matrix(suite, tuple(_judged(versions, work, target, given, tell)))


def _judged(
    versions: Sequence[str],
    work: Work,
    target: Path,
    gate: Mapping[str, Any],
    tell: Callable[[str], None] | None,
) -> list[Version]:
    """Every version, run and held against the first."""
    found: list[Version] = []
    for number, text in enumerate(versions):
        folder = target / _slug(number, text)
        if tell:
            tell(f"{text}: version {number + 1} of {len(versions)}")
        try:
            _run(text, work, folder)
        except FinefuseError as error:
            if not found:
                raise
            found.append(Version(text, folder, trouble=str(error)))
        else:
            found.append(Version(text, folder, compare(found[0].folder, folder, **gate) if found else None))
    return found


def _run(text: str, work: Work, folder: Path) -> None:
    """Run the suite with these versions."""
    environment = with_requirements(text.split())
    check(environment, work)
    run_suite(environment, work, folder)


def _slug(number: int, text: str) -> str:
    """The name of a version's folder: of files only their names."""
    told = re.sub(r"[^\w.=-]+", "-", " ".join(Path(word).name for word in text.split()))
    return f"{number}-{told.strip('-')[-60:]}"
