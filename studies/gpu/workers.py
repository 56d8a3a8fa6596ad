"""How many workers a GPU bears: one suite of small networks with 1, 2, 4 and 8 of them, anew each time.

    python studies/gpu/workers.py [ROUNDS]

Each round goes through all numbers. `--workers` stays what a person chooses: by default it is one for each GPU, and the
table says what more of them are worth on the machine at hand.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import finefuse

NUMBERS = (1, 2, 4, 8)
SUITE = """
name      = "workers"
seeds     = [0, 1, 2, 3]
budget    = { epochs = 10, batch_size = 32 }
datasets  = ["digits"]
backbones = ["cnn-s", "vit-t"]
schemes   = ["full", "lora", "linear-probe", "l2-sp"]
latency   = []
"""


def timed(workers: int, device: str = "cuda:0") -> float:
    """Seconds for the whole suite, with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "workers.toml"
        suite.write_text(SUITE, encoding="utf-8")
        began = perf_counter()
        at = Path(folder)
        finefuse.run(
            suite, out=at / "results", store=at / "store", device=device, workers=workers, reporters=(), quiet=True
        )
        return perf_counter() - began


def main(rounds: int) -> None:
    """Measure and print a Markdown table."""
    taken = {workers: list[float]() for workers in NUMBERS}
    for _ in range(rounds):
        for workers, seconds in taken.items():
            seconds.append(timed(workers))
    alone = statistics.median(taken[1])
    print("| workers | seconds | times as fast |\n|---|---|---|")
    for workers, seconds in taken.items():
        print(f"| {workers} | {statistics.median(seconds):.1f} | {alone / statistics.median(seconds):.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
