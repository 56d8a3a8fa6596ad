"""Races finefuse against what people use instead, all in one run and in turn, and prints one table.

    pip install . torchvision timm transformers accelerate lightning mergekit fusion-bench
    OMP_NUM_THREADS=1 python studies/race/race.py [--small] [SECTION ...]

Figures are medians of seconds of the processor. The first line says where a rival is faster. Rivals that aren't
installed are left out, and the last lines say so. `--small` tries sections on little work: its figures say nothing.
`suite` takes minutes, because every cell of `quick` is run as a script of its own; `--small` leaves it out.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "perf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "fixtures"))
sys.path.insert(0, str(Path(__file__).parents[1] / "perf"))
sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))

import measure
import merging
import records_builder
import rivals
import torch
from contests import judging, processes, training

from finefuse.engine.measure.cost import machine
from finefuse_zoo.linear import fit_linear

Ways = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Size:
    """How much work a race is."""

    rounds: int
    epochs: int
    examples: int
    rows: int
    methods: int


FULL, SMALL = Size(9, 30, 1500, 100_000, 100), Size(1, 2, 100, 2_000, 2)


@dataclass(frozen=True)
class Result:
    """Seconds of one contest by the name of the way; ours is "finefuse"."""

    contest: str
    seconds: Mapping[str, float]

    def faster(self) -> list[str]:
        """Sentences on the rivals that took less."""
        ours = self.seconds["finefuse"]
        ratios = {name: taken / ours for name, taken in self.seconds.items()}
        return [
            f"{self.contest}: {name} takes {ratio:.2f} of finefuse's time"
            for name, ratio in ratios.items()
            if ratio < 1
        ]


def installed(package: str, missing: set[str]) -> bool:
    """Whether a package is there; the others are noted."""
    if importlib.util.find_spec(package):
        return True
    missing.add(package)
    return False


def in_turn(contest: str, ways: Ways, rounds: int) -> Result:
    """Each way once a round, after one that doesn't count; every other round goes the other way about."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            start = time.process_time()
            ways[name]()
            taken[name].append(time.process_time() - start)
    return Result(contest, {name: statistics.median(seconds[1:]) for name, seconds in taken.items()})


def engine(size: Size, missing: set[str]) -> Iterator[Result]:
    """Full fine-tuning of small networks on 100 digits."""
    for backbone in training.BACKBONES:
        net = training.small(backbone)
        makers = {"finefuse": rivals.finefuse}
        makers |= {name: make for name, (package, make) in rivals.TRAINING.items() if installed(package, missing)}
        made = {name: make(size.epochs) for name, make in makers.items()}
        ways = {name: _on_a_copy(way, net) for name, way in made.items()}
        yield in_turn(f"full fine-tuning of {backbone}, {size.epochs} epochs", ways, size.rounds)


def _on_a_copy(way: rivals.Way, net: Any) -> Callable[[], object]:
    return lambda: way(copy.deepcopy(net))


def merges(size: Size, missing: set[str]) -> Iterator[Result]:
    """Five ResNet-50s into one, by every method that the others have too."""
    of = merging.pool()
    for method, every in list(merging.METHODS.items())[: size.methods]:
        ways = {name: way for name, way in every.items() if name == "finefuse" or installed(name, missing)}
        if len(ways) > 1:
            yield Result(f"merge: {method}", merging.race(ways, of)[0])
    states = [merging.parameters(member.net) for member in of.members]
    by_hand = {"finefuse": lambda: merging.average(of), "sum by hand": lambda: _mean(states)}
    yield in_turn("merge: mean of five", by_hand, size.rounds)


def _mean(states: list[merging.State]) -> merging.State:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def probe(size: Size, _: set[str]) -> Iterator[Result]:
    """The fit of a linear probe, to the same optimum."""
    from sklearn.linear_model import LogisticRegression

    rng = torch.Generator().manual_seed(0)
    y = torch.arange(size.examples) % 10
    centres = torch.randn(10, 512, generator=rng)
    x = centres[y] + 4 * torch.randn(size.examples, 512, generator=rng)
    theirs = LogisticRegression(C=1.0, tol=1e-6, max_iter=10_000)
    given = x.double().numpy(), y.numpy()
    ways = {"finefuse": lambda: fit_linear(x, y, 10, 1.0), "scikit-learn": lambda: theirs.fit(*given)}
    yield in_turn(f"linear probe, {size.examples:,} x 512", ways, size.rounds)


def reports(size: Size, _: set[str]) -> Iterator[Result]:
    """From records to a board in Markdown, against pandas' mean, deviation and rank of the same rows."""
    import pandas

    with tempfile.TemporaryDirectory() as folder:
        results = processes.large_results(Path(folder) / "results", size.rows, records_builder)

        def table() -> str:
            rows = pandas.read_json(results / "records.jsonl", lines=True)
            by = rows.groupby(["dataset", "backbone", "label"])["test.accuracy"].agg(["mean", "std", "count"])
            return str(by.assign(rank=by["mean"].rank(ascending=False)).to_string())

        ways: Ways = {"finefuse": lambda: judging.to_markdown(results), "pandas": table}
        yield in_turn(f"report of {size.rows:,} rows", ways, min(size.rounds, 3))


def suite(size: Size, _: set[str]) -> Iterator[Result]:
    """`quick` against a script for every cell, whole processes."""
    for figure in measure.suite() if size is FULL else ():
        yield Result(f"suite, {figure.what}", {"finefuse": 1.0, "scripts": figure.value})


SECTIONS: dict[str, Callable[[Size, set[str]], Iterator[Result]]] = {
    "engine": engine,
    "probe": probe,
    "merges": merges,
    "reports": reports,
    "suite": suite,
}


def told(results: list[Result], missing: set[str]) -> str:
    """The table, with what is faster than finefuse on top."""
    faster = [sentence for result in results for sentence in result.faster()]
    lines = ["Faster than finefuse: " + ("; ".join(faster) if faster else "none") + ".", ""]
    lines += ["| contest | way | s | of finefuse's time |", "|---|---|--:|--:|"]
    for result in results:
        ours = result.seconds["finefuse"]
        lines += [f"| {result.contest} | {way} | {s:.4g} | {s / ours:.2f} |" for way, s in result.seconds.items()]
    lines += ["", f"{machine()}", *(f"{name} is not installed, and was left out." for name in sorted(missing))]
    return "\n".join(lines)


def main(asked: list[str]) -> None:
    """Race in the sections that are asked for, or all."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    size, missing = (SMALL if "--small" in asked else FULL), set[str]()
    names = [name for name in asked if name != "--small"] or list(SECTIONS)
    if unknown := set(names) - SECTIONS.keys():
        raise SystemExit(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    results = [result for name in names for result in SECTIONS[name](size, missing)]
    print(told(results, missing))


if __name__ == "__main__":
    main(sys.argv[1:])
