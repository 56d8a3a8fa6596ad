"""What a process for each job costs: one suite by two checkouts in turn, cold, in seconds of processors.

    python studies/isolation/cost.py SUITE OLD NEW [PAIRS]

OLD and NEW are roots of checkouts. Seconds of processors, of the driver and of all that it starts, hardly depend on
what else the machine does; those of the clock do. `scores.csv` must have the same bytes each time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(suite: Path, checkout: Path) -> tuple[float, float, int, bytes]:
    """Seconds of processors and of the clock for one run by one worker, its rows, and the scores."""
    with tempfile.TemporaryDirectory() as folder:
        out, path = Path(folder, "out"), os.pathsep.join(str(checkout / part) for part in ("benchmark", "plugins"))
        env = os.environ | {"PYTHONPATH": path, "FINEFUSE_STORE": str(Path(folder, "store")), "XDG_CACHE_HOME": folder}
        command = [sys.executable, "-m", "finefuse", "run", str(suite), "--device", "cpu", "--workers", "1"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, "--out", str(out), "--quiet"], env=env, check=True, stdout=subprocess.DEVNULL)
        after, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return busy, clock, (out / "records.jsonl").read_text().count("\n"), (out / "scores.csv").read_bytes()


def main() -> None:
    """Print a line per run, and the ratio of each pair."""
    suite, old, new = (Path(argument).resolve() for argument in sys.argv[1:4])
    scores = set()
    for _ in range(int(sys.argv[4]) if len(sys.argv) > 4 else 2):
        seconds = []
        for checkout in (old, new):
            busy, clock, rows, content = run(suite, checkout)
            seconds.append(busy)
            scores.add(content)
            print(f"{checkout.name}: {busy:.1f} s of processors, {clock:.1f} s by the clock, {rows} rows", flush=True)
        print(
            f"ratio {seconds[1] / seconds[0]:.3f}; {1000 * (seconds[1] - seconds[0]) / rows:.0f} ms a row", flush=True
        )
    print("the same scores" if len(scores) == 1 else f"{len(scores)} different scores")


if __name__ == "__main__":
    main()
