"""What large results and plans cost: python studies/perf/scale.py [SECTION ...]; prints a table, and keeps nothing.

Whole commands, in seconds of the processor (user and system) and peak memory. A row of the synthetic results has what
the engine writes: bits by example, settings, and what went into its key.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "perf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "fixtures"))

import many_rows
from contests.processes import FINEFUSE, Cost, cost_of, large_suite

GIB = 1024**3


class Figure(NamedTuple):
    """What a command took, and what it should: seconds of the processor and GiB."""

    what: str
    took: Cost
    seconds: float
    memory: float = float("inf")


REPORTERS = ("markdown", "csv", "json")


def report(folder: Path, *names: str) -> Cost:
    """Write reports of a folder, all if none is named."""
    return cost_of([*FINEFUSE, "report", str(folder), *(word for name in names for word in ("--reporter", name))])


def reports(what: str, shape: many_rows.Shape) -> Iterator[Figure]:
    """Three sets of reports of made-up rows."""
    with tempfile.TemporaryDirectory() as place:
        folder = many_rows.write(Path(place), shape)
        yield Figure(f"{what} to Markdown", report(folder, "markdown"), 2)
        yield Figure(f"{what} to Markdown, CSV and JSON", report(folder, *REPORTERS), 4)
        yield Figure(f"{what} to these and the page", report(folder), 6, 0.5)


def records() -> Iterator[Figure]:
    """100,000 rows of 2,000 lines in 50 tables, 48 seeds each."""
    yield from reports("100,000 rows", many_rows.Shape(10, 5, 32, 8, 48))


def wide() -> Iterator[Figure]:
    """100,000 rows of 10,000 lines, and their timings: 200 data sets, 50 schemes, 10 seeds."""
    yield from reports("200 x 50 x 10 rows", many_rows.Shape(200, 1, 50, 0, 10))


def million() -> Iterator[Figure]:
    """Nearly 1,000,000 rows of 2,000 lines in 50 tables, 480 seeds each."""
    with tempfile.TemporaryDirectory() as place:
        folder = many_rows.write(Path(place), many_rows.Shape(10, 5, 32, 8, 480))
        yield Figure("1,000,000 rows to Markdown", report(folder, "markdown"), 30)


def plans() -> Iterator[Figure]:
    """Plans of 100,000 cells, and of a search of 10,000 trials."""
    with tempfile.TemporaryDirectory() as place:
        suite, search = large_suite(Path(place), 100_000), many_rows.search_suite(Path(place), 10_000)
        for what, path, seconds, memory in (("100,000 cells", suite, 8, 1), ("10,000 trials", search, 5, 0.5)):
            command = [*FINEFUSE, "plan", str(path), "--device", "cpu", "--out", str(Path(place, "none"))]
            yield Figure(f"a plan of {what}", cost_of([*command, "--store", place]), seconds, memory)


SECTIONS: dict[str, Callable[[], Iterator[Figure]]] = {
    section.__name__: section for section in (records, wide, million, plans)
}


def main(names: list[str]) -> None:
    """Measure the named sections, or all."""
    for name in names or SECTIONS:
        print(f"\n{name}: {SECTIONS[name].__doc__}\n\n| | s | goal | GiB | goal |\n|---|---|---|---|---|")
        for what, took, seconds, memory in SECTIONS[name]():
            most = f"{memory:g}" if memory < float("inf") else ""
            print(f"| {what} | {took.cpu:.1f} | {seconds:g} | {took.peak / GIB:.2f} | {most} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
