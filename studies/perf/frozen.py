"""What it saves that jobs share what frozen stages give: one suite with and without, by turns and cold.

    python studies/perf/frozen.py SUITE [ROUNDS] [PATTERN ...]

Seconds of processors of the driver and all that it starts, one worker, an empty store each time; patterns are those of
`--only`. Scores, outputs and steps of all rows must be the same each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SAME = ("test.", "val.", "figure.", "outputs", "correct", "losses", "flops", "steps", "gradients", "reason", "status")
"""Fields that must not depend on it start so."""


def run(suite: str, patterns: list[str], gib: str, folder: Path) -> tuple[float, dict[str, dict[str, Any]]]:
    """Seconds of processors, and by cell what must be the same."""
    env = os.environ | {"FINEFUSE_SHARED_GIB": gib, "FINEFUSE_STORE": str(folder / "store")}
    command = [sys.executable, "-m", "finefuse", "run", suite, "--device", "cpu", "--workers", "1", "--quiet"]
    command += ["--reporter", "none", "--out", str(folder / "out")]
    command += [part for pattern in patterns for part in ("--only", pattern)]
    before = os.times()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    rows = map(json.loads, (folder / "out" / "records.jsonl").read_text().splitlines())
    return used, {row["cell"]: {k: v for k, v in row.items() if k.startswith(SAME)} for row in rows}


def main() -> None:
    """Print a line per round, and whether the rows are the same."""
    suite, rounds, *patterns = [*sys.argv[1:], *["2"][len(sys.argv) - 2 :]]
    found: list[dict[str, dict[str, Any]]] = []
    for turn in range(int(rounds)):
        seconds = {}
        for gib in ("2", "0") if turn % 2 == 0 else ("0", "2"):
            with tempfile.TemporaryDirectory() as folder:
                seconds[gib], rows = run(suite, patterns, gib, Path(folder))
            found.append(rows)
        shared, alone = seconds["2"], seconds["0"]
        print(f"shared {shared:.1f} s, alone {alone:.1f} s of processors, ratio {shared / alone:.3f}", flush=True)
    print(f"{len(found[0])} rows, {'the same' if all(rows == found[0] for rows in found) else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
