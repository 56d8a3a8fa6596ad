"""Ten regressions and ten harmless changes of examples/finefuse-gentle: does its gate stop those and let these pass?

    python studies/gate/planted.py FOLDER [NAME...]

Each file in `patches` is a change as a maintainer could make it by mistake (`bad-*`) or on purpose (`good-*`), with a
sentence on top. It is applied to a copy of the package, whose suite is run and held against the package as it is by the
action's own script. Changes of speed are run by `finefuse ab` besides. FOLDER keeps all of it, so that a second call
runs only what has changed. Prints the table of README.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finefuse.judge.compare import FATAL

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "finefuse-gentle"
SCRIPT = ROOT / ".github" / "actions" / "gate" / "gate.sh"
PATCHES = Path(__file__).parent / "patches"
REPEAT = 2
"""Cells that are run a second time, as the action does by default."""
TIMED = ("bad-05-time",)
"""Changes of speed, which `finefuse ab` judges too."""
PAIRS = 5
MOST = 3
"""Verdicts that are told of each change."""


@dataclass(frozen=True)
class Change:
    """A patch."""

    file: Path

    @property
    def name(self) -> str:
        """Its number and what it is about."""
        return self.file.stem

    @property
    def bad(self) -> bool:
        """Whether the gate should stop it."""
        return self.name.startswith("bad")

    @property
    def what(self) -> str:
        """The sentence on top."""
        return self.file.read_text(encoding="utf-8").partition("\n\n")[0]

    def apply(self, folder: Path) -> None:
        """Make a copy of the package with the change in it."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__", "baseline"))
        with self.file.open(encoding="utf-8") as patch:
            subprocess.run(["patch", "--strip=1", "--silent", f"--directory={folder}"], stdin=patch, check=True)


def changes() -> list[Change]:
    """All of them."""
    return [Change(file) for file in sorted(PATCHES.glob("*.patch"))]


def gate(package: Path, base: Path, out: Path, store: Path, repeat: int = 0) -> int:
    """Run the suite of a package one job at a time, compare, run some cells again, and give the exit code."""
    variables = {
        "SUITE": str(package / "gate.toml"),
        "PLUGIN": str(package / "finefuse_gentle.py"),
        "BASELINE": str(base),
        "OUT": str(out),
        "REPEAT": str(repeat),
        "RUN_OPTIONS": f"--quiet --device cpu --workers 1 --store '{store}'",
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    return subprocess.run([SCRIPT], env=environment, stdout=subprocess.DEVNULL).returncode


def in_pairs(package: Path, out: Path) -> int:
    """Run the package as it is and a changed one in turn, compare, and give the exit code."""
    doors = [str(folder / "finefuse_gentle.py") for folder in (PACKAGE, package)]
    how = ["--suite", str(package / "gate.toml"), "--pairs", str(PAIRS), "--workers", "1", "--device", "cpu"]
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "finefuse", "ab", *doors, *how, "--format", f"json={out / 'verdict.json'}"]
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode


def told(verdict: dict[str, Any]) -> Iterator[str]:
    """What speaks against a change, or how much of it was unchanged."""
    found = [v for v in verdict["verdicts"] if v["judgement"] in FATAL]
    for v in found[:MOST]:
        values = "" if v["base"] is None or v["new"] is None else f" {v['base']:.4g} → {v['new']:.4g}"
        yield f"{v['measure'] or 'row'} of {v['where']}{values} ({v['reason'] or v['judgement']})"
    if len(found) > MOST:
        yield f"and {len(found) - MOST} more"


def main(folder: Path, names: Sequence[str]) -> None:
    """Print the table."""
    base = folder / "base"
    gate(PACKAGE, base, base, folder / "store")
    right = 0
    print("| change | what | the gate | because |\n|:--|:--|:--|:--|")
    for change in (one for one in changes() if not names or one.name in names):
        package, out = folder / "packages" / change.name, folder / "results" / change.name
        change.apply(package)
        code = gate(package, base, out, folder / "store", REPEAT)
        if not code and change.name in TIMED:
            out = folder / "pairs" / change.name
            code = in_pairs(package, out)
        verdict = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
        right += (code != 0) == change.bad
        said = "; ".join(told(verdict)) or ("other bits when it is run again" if code else "")
        print(f"| {change.name} | {change.what} | {'stops it' if code else 'passes'} | {said} |", flush=True)
    print(f"\n{right} of {len(names) or len(changes())} as they should be.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
