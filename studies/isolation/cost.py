"""What a process for each job costs: one suite by two checkouts at the same time, cold, in seconds of processors.

    python studies/isolation/cost.py SUITE OLD NEW [PAIRS]

OLD and NEW are roots of checkouts. They run side by side, because seconds of processors depend on what else the machine
does: a core that two threads share makes each slower. `scores.csv` must have the same bytes each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def start(suite: Path, checkout: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A run of the suite by one worker."""
    path = os.pathsep.join(str(checkout / part) for part in ("benchmark", "plugins"))
    env = os.environ | {"PYTHONPATH": path, "FINEFUSE_STORE": str(folder / "store"), "XDG_CACHE_HOME": str(folder)}
    command = [sys.executable, "-m", "finefuse", "run", str(suite), "--device", "cpu", "--workers", "1"]
    command += ["--out", str(folder / "out"), "--quiet"]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def pair(suite: Path, checkouts: list[Path], folder: Path) -> tuple[list[float], set[bytes], int]:
    """Seconds of processors of each checkout, of the driver and of all that it starts; the scores; rows of the last."""
    began = time.perf_counter()
    names = [folder / str(number) for number in range(len(checkouts))]
    running = {
        start(suite, root, name).pid: number for number, (root, name) in enumerate(zip(checkouts, names, strict=True))
    }
    seconds = [0.0] * len(checkouts)
    while running:
        pid, status, used = os.wait4(-1, 0)
        number = running.pop(pid)
        if status:
            raise SystemExit(f"{checkouts[number]}: the run ended with {os.waitstatus_to_exitcode(status)}")
        seconds[number] = used.ru_utime + used.ru_stime
        clock = time.perf_counter() - began
        print(
            f"{checkouts[number].name}: {seconds[number]:.1f} s of processors, {clock:.1f} s by the clock", flush=True
        )
    rows = (names[-1] / "out" / "records.jsonl").read_text().count("\n")
    return seconds, {(name / "out" / "scores.csv").read_bytes() for name in names}, rows


def main() -> None:
    """Print a line per run, and the ratio of each pair."""
    suite, *checkouts = (Path(argument).resolve() for argument in sys.argv[1:4])
    scores: set[bytes] = set()
    for _ in range(int(sys.argv[4]) if len(sys.argv) > 4 else 2):
        with tempfile.TemporaryDirectory() as folder:
            (old, new), found, rows = pair(suite, checkouts, Path(folder))
        scores |= found
        print(f"ratio {new / old:.3f}; {1000 * (new - old) / rows:.0f} ms for each of {rows} rows", flush=True)
    print("the same scores" if len(scores) == 1 else f"{len(scores)} different scores")


if __name__ == "__main__":
    main()
