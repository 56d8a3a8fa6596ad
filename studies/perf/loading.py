"""Measures how a folder of images is read, and writes loading.md beside itself.

    python studies/perf/loading.py FOLDER [SIZE ...] [--of WHAT]

FOLDER has a directory for every class, as the data set `folder` wants it. Every step is a process of its own with an
empty cache before the first, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from finefuse_zoo.datasets.folder import Folder

BATCH = 256
INTRODUCTION = """# Loading

{files:,} {of}, {cores} cores, {date}. Other work ran on the
machine, so processor seconds say more than those of the clock. Every step is a separate process: "decode" and "open
again" make train, val and test of the data set `folder`, including the import of torch. Peak memory counts the pages of
mapped files that were touched, which the system may drop at any time.

`python studies/perf/loading.py FOLDER SIZE ...`"""
STEPS = ("fingerprint", "decode", "fingerprint again", "open again", "batches")


def measure(step: str, data: Folder) -> dict[str, float]:
    """What one step takes, in this process."""
    if step.startswith("fingerprint"):
        return timed(data.fingerprint)
    import torch

    torch.set_num_threads(1)
    if step != "batches":
        return timed(lambda: data.splits(0))
    x = data.splits(0).train.x
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))

    def epoch() -> None:
        for rows in order.split(BATCH):
            x[rows].float().div_(255)

    epoch()
    return {**timed(epoch), "images": len(x)}


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Seconds on the clock and of the processor, and the process's peak memory."""
    start = time.perf_counter(), time.process_time()
    call()
    used = {"wall": time.perf_counter() - start[0], "cpu": time.process_time() - start[1]}
    return {**used, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2}


def table(folder: Path, size: int, files: int) -> Iterator[str]:
    """The lines of a table for one size."""
    yield f"\n## {size}x{size}\n\n| step | clock | processor | peak memory | |\n|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as cache:
        for step in STEPS:
            command = [sys.executable, __file__, str(folder), str(size), "--step", step]
            environment = {**os.environ, "FINEFUSE_CACHE": cache}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found, note = json.loads(done.stdout), ""
            if "images" in found:
                rates = [f"{found['images'] / found[key]:,.0f}" for key in ("wall", "cpu")]
                note = f"an epoch to float batches of {BATCH}, one thread: {rates[0]} images/s, {rates[1]} by processor"
            elif step == "decode":
                note = f"{1e6 * found['cpu'] / files:.0f} us of the processor an image"
            yield f"| {step} | {found['wall']:.2f} s | {found['cpu']:.2f} s | {found['peak']:.2f} GiB | {note} |"


def main() -> None:
    """Measure every step and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="*", default=[32])
    parser.add_argument("--of", default="images")
    parser.add_argument("--step")
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measure(given.step, Folder(given.folder, size=given.sizes[0]))))
        return
    files = sum(len(names) for _, _, names in os.walk(given.folder))
    lines = [INTRODUCTION.format(files=files, of=given.of, cores=os.cpu_count(), date=datetime.now(UTC).date())]
    for size in given.sizes:
        for line in table(given.folder, size, files):
            print(line, flush=True)
            lines.append(line)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
