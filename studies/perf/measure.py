"""Measures what finefuse promises about speed, and writes figures.json and figures.md beside itself.

    python studies/perf/measure.py [SECTION ...]

What is compared is timed in turn, in one run; a figure is a ratio of medians, or a median. Sections that are not asked
for keep their last figures. Needs the test dependencies, and torchvision for `probe`, `stages` and `soup`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "perf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "fixtures"))

import records_builder
import torch
from contests import Contest, fusing, judging, plain_cell, processes, training
from contests.processes import FINEFUSE, Cost, cost_of

from finefuse.engine.measure.cost import machine

HERE = Path(__file__).parent
GIB = 1024**3


@dataclass(frozen=True)
class Figure:
    """One measured number; `met` is None where there is no goal and it only explains another."""

    what: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    note: str = ""


def at_most(limit: float, what: str, value: float, unit: str, note: str = "") -> Figure:
    """A figure that has a ceiling."""
    return Figure(what, value, unit, f"at most {limit:g}", value <= limit, note)


def at_least(limit: float, what: str, value: float, unit: str, note: str = "") -> Figure:
    """A figure that has a floor."""
    return Figure(what, value, unit, f"at least {limit:g}", value >= limit, note)


def race(contest: Contest, rounds: int) -> dict[str, Cost]:
    """Median seconds of each way, on the clock and of the processor, after one round that does not count.

    Every other round goes the other way about.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contest.ways}
    for number in range(rounds + 1):
        for name in list(contest.ways)[:: -1 if number % 2 else 1]:
            given = contest.fresh()
            start = time.perf_counter(), time.process_time()
            contest.ways[name](given)
            taken[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {name: medians([Cost(wall, cpu, 0) for wall, cpu in all_[1:]]) for name, all_ in taken.items()}


def medians(costs: list[Cost]) -> Cost:
    """The median of each field."""
    return Cost(*(statistics.median(getattr(cost, field) for cost in costs) for field in ("wall", "cpu", "peak")))


def repeat(commands: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """Medians of commands that are run in turn, after one round that does not count."""
    taken = [{name: command() for name, command in commands.items()} for _ in range(rounds + 1)]
    return {name: medians([costs[name] for costs in taken[1:]]) for name in commands}


def full() -> Iterator[Figure]:
    """Full fine-tuning, 100 digits, 30 epochs, one thread, against a bare torch loop that leaves the same bits."""
    for backbone in training.BACKBONES:
        cost = race(training.full_fine_tuning(backbone), 24)
        ratio = cost["finefuse"].cpu / cost["bare loop"].cpu
        yield at_most(1.02, f"{backbone}: finefuse / bare loop", ratio, "x", spent(cost))


def probe() -> Iterator[Figure]:
    """Linear probe of ResNet-18 on 128 images of 64x64, against a frozen loop of 10 epochs, one thread."""
    cost = race(training.linear_probe(), 2)
    ours, given = cost["finefuse"].cpu, cost["finefuse, features given"].cpu
    usual, careful = cost["usual frozen loop"].cpu, cost["careful frozen loop"].cpu
    yield at_least(10, "usual frozen loop / finefuse", usual / ours, "x", spent(cost))
    yield at_least(10, "careful frozen loop / finefuse", careful / ours, "x")
    note = "the fit alone; jobs do not share features yet, so no run of the engine saves this much"
    yield at_least(500, "usual frozen loop / finefuse with the features at hand", usual / given, "x", note)


def prefix() -> Iterator[Figure]:
    """Cached prefix on digits and cnn-s, 100 labels, 30 epochs, one thread."""
    for name, stages in {"head alone": 0, "last stage and head": 1}.items():
        cost = race(training.frozen_prefix(stages), 15)
        ours, usual, careful = (cost[k].cpu for k in ("finefuse", "usual frozen loop", "careful frozen loop"))
        yield at_least(1.7 if stages else 20, f"{name}: usual loop / finefuse", usual / ours, "x", spent(cost))
        if stages:
            yield Figure(f"{name}: careful loop / finefuse", careful / ours, "x")
        else:
            yield at_least(8, f"{name}: careful loop / finefuse", careful / ours, "x")
        if "loop over features" in cost:
            note = "the floor: a plain loop over features at hand, where steps of the optimizer are all that is left"
            yield Figure(f"{name}: careful loop / floor", careful / cost["loop over features"].cpu, "x", note=note)


def stages() -> Iterator[Figure]:
    """Last stage and head of ResNet-18, 128 images of 64x64, 5 epochs, one thread."""
    cost = race(training.frozen_prefix(1, large=True, epochs=5), 2)
    ours, usual, careful = (cost[k].cpu for k in ("finefuse", "usual frozen loop", "careful frozen loop"))
    yield at_least(1.7, "usual loop / finefuse", usual / ours, "x", spent(cost))
    yield at_least(1.7, "careful loop / finefuse", careful / ours, "x")


def suite() -> Iterator[Figure]:
    """CPU seconds of `quick` without latency, whole processes with all imports, against one plain script per cell."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = processes.variant(place, "latency = []")
        whole = cost_of(processes.run(path, place / "cold", place / "store", workers=1)).cpu
        weights = processes.pretrained(place / "cold", place / "store", place / "warm")
        ours = cost_of(processes.run(path, place / "out", place / "warm", workers=1)).cpu
        rows = processes.rows(place / "cold")
        seeds = sorted({row["seed"] for row in rows if row["kind"] == "tune"})
        script = [sys.executable, plain_cell.__file__]
        cells = [[b, str(w), "0", *cell] for b, w in weights.items() for cell in plain_cell.cells()]
        costs = [cost_of([*script, *cell]).cpu for cell in cells]
        start = statistics.median(cost_of([sys.executable, "-c", START]).cpu for _ in range(5))
    theirs, n = sum(costs) * len(seeds), len(cells) * len(seeds)
    pretraining = {row["backbone"]: row["cpu_seconds"] for row in rows if row["kind"] == "pretrain"}
    note = f"{theirs:.0f} s of {n} scripts (one seed's {len(cells)} measured, times {len(seeds)}) to {ours:.0f} s"
    yield at_least(10, "pretraining on neither side: scripts / finefuse", theirs / ours, "x", note)
    both = theirs + n * statistics.mean(pretraining.values())
    note = f"as if every script pretrained: {both:.0f} s to {whole:.0f} s"
    yield at_least(10, "pretraining on both sides: scripts / finefuse", both / whole, "x", note)
    bare, note = (
        theirs - n * start,
        f"{start:.1f} s a script to import torch and load the data are left out; finefuse's are not",
    )
    yield Figure("pretraining on neither side, scripts without imports / finefuse", bare / ours, "x", note=note)


START = "import torch, sklearn.datasets; sklearn.datasets.load_digits()"


def workers() -> Iterator[Figure]:
    """The whole of `quick` but latency, pretraining included: 1 worker of 2 threads against 2 workers of 1 thread."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def run(threads: int) -> Cost:
            path = processes.variant(place / f"threads{threads}", f"latency = []\nthreads = {threads}")
            out = Path(tempfile.mkdtemp(dir=place))
            return cost_of(processes.run(path, out / "out", out / "store", workers=2 // threads))

        cost = repeat({"1 x 2": lambda: run(2), "2 x 1": lambda: run(1)}, 2)
    note = f"{cost['1 x 2'].wall:.0f} s to {cost['2 x 1'].wall:.0f} s on the clock; {busy(cost)}"
    yield at_least(1.2, "1 worker of 2 threads / 2 workers of 1", cost["1 x 2"].wall / cost["2 x 1"].wall, "x", note)
    ratio = cost["1 x 2"].cpu / cost["2 x 1"].cpu
    yield Figure("the same in seconds of the processor", ratio, "x", note="does not depend on what else runs")


def scoring() -> Iterator[Figure]:
    """Fusing outputs at hand: 24 members, 10,000 examples, 10 classes, one thread."""
    cost = {name: 1000 * one.cpu for name, one in race(fusing.scoring(), 9).items()}
    yield at_most(1, "mean, from probabilities", cost["mean of probabilities"], "ms")
    note = f"{cost['softmax']:.0f} ms of it are torch's softmax over ten classes: members hand over logits"
    yield at_most(1, "mean-probs, from logits", cost["mean-probs"], "ms", note)
    yield at_most(10, "vote", cost["vote"], "ms")
    yield at_most(200, "stacking, fitted on 1,000 examples", cost["stacking, fitted on 1,000"], "ms")
    note = "240 features to convergence in float64"
    yield at_most(200, "stacking, fitted on 10,000 examples", cost["stacking, fitted on 10,000"], "ms", note)


def soup() -> Iterator[Figure]:
    """The mean of five ResNet-50s, one thread."""
    cost = race(fusing.averaging(), 9)
    ratio = cost["finefuse"].cpu / cost["float32"].cpu
    yield at_most(0.3, "nets.average", cost["finefuse"].cpu, "s", f"{ratio:.1f}x of the usual sum in float32")
    done = subprocess.run([sys.executable, fusing.__file__], check=True, capture_output=True, text=True)
    yield at_most(2, "memory beyond the members, in copies of one", float(done.stdout), "copies")


def verbs() -> Iterator[Figure]:
    """Whole processes, in seconds of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        done = processes.run("quick", place / "out", place / "store", workers=1)
        cost_of(done)
        cells = len(processes.rows(place / "out"))
        commands = {
            "--help": (0.3, [*FINEFUSE, "--help"]),
            "list": (0.5, [*FINEFUSE, "list"]),
            f"plan of {cells} cells": (
                0.8,
                [*FINEFUSE, "plan", "quick", "--device", "cpu", "--out", str(place / "new")],
            ),
            f"run of {cells} cells with nothing left to do": (1.5, done),
        }
        cost = repeat({name: lambda c=command: cost_of(c) for name, (_, command) in commands.items()}, 7)
        torch_free = {name: not processes.imports_torch(command) for name, (_, command) in commands.items()}
        many = {"PYTHONPATH": str(processes.many_distributions(place / "many", 1000))}
        listed = repeat(
            {k: lambda e=e: cost_of(commands["list"][1], e) for k, e in {"few": {}, "many": many}.items()}, 7
        )
    for name, (limit, _) in commands.items():
        note = f"{'no torch' if torch_free[name] else 'IMPORTS TORCH'}; {cost[name].wall:.2f} s on the clock"
        yield at_most(limit, name, cost[name].cpu, "s", note)
    yield at_most(0.1, "list with 1,000 more distributions installed", listed["many"].cpu - listed["few"].cpu, "s more")


def large() -> Iterator[Figure]:
    """100,000 cells and 100,000 records, whole processes in seconds of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = processes.large_suite(place, 100_000)
        plan = [*FINEFUSE, "plan", str(path), "--device", "cpu", "--out", str(place / "none")]
        results = processes.large_results(place / "results", 100_000, records_builder)
        size = (results / "records.jsonl").stat().st_size / 1e5
        cost = repeat(
            {
                "plan": lambda: cost_of(plan),
                "board": lambda: cost_of([sys.executable, judging.__file__, str(results)]),
                "reports": lambda: cost_of([*FINEFUSE, "report", str(results)]),
            },
            3,
        )
    yield at_most(10, "plan of 100,000 cells, printed", cost["plan"].cpu, "s", f"{cost['plan'].peak / GIB:.2f} GiB")
    yield at_most(2, "100,000 records to Markdown", cost["board"].cpu, "s", f"{size:.0f} bytes a record")
    yield at_most(5, "100,000 records to all reports and the screen", cost["reports"].cpu, "s")
    yield at_most(1, "peak memory of that", cost["reports"].peak / GIB, "GiB")


def spent(cost: Mapping[str, Cost]) -> str:
    """The medians, in milliseconds of the processor."""
    return ", ".join(f"{name} {1000 * one.cpu:.0f}" for name, one in cost.items()) + f" ms; {busy(cost)}"


def busy(cost: Mapping[str, Cost]) -> str:
    """How much of the time the measured work had the processor; less than its threads where others ran beside it."""
    return f"{sum(c.cpu for c in cost.values()) / sum(c.wall for c in cost.values()):.2f} cores busy with it"


SECTIONS: dict[str, Callable[[], Iterator[Figure]]] = {
    section.__name__: section for section in (full, probe, prefix, stages, suite, workers, scoring, soup, verbs, large)
}


def to_markdown(figures: Mapping[str, Mapping[str, object]], facts: str) -> str:
    """One table per section."""
    parts = [f"# Speed\n\n{INTRODUCTION}\n\nMachine: {facts}."]
    for name, section in SECTIONS.items():
        if name not in figures:
            continue
        table = [f"## {name}\n\n{section.__doc__}\n\n`python studies/perf/measure.py {name}`\n"]
        table += ["| what | goal | measured | met | |", "|---|---|---|---|---|"]
        for figure in (Figure(**one) for one in figures[name]["figures"]):
            met = {True: "yes", False: "**no**", None: ""}[figure.met]
            table.append(
                f"| {figure.what} | {figure.goal} | {figure.value:.3g} {figure.unit} | {met} | {figure.note} |"
            )
        parts.append("\n".join(table))
    return "\n\n".join(parts) + "\n"


INTRODUCTION = (
    "Each section is written by the command below its title. What is compared was timed in turn, in one run; ratios "
    "are of medians, in seconds of the processor unless it says otherwise, because other work ran on the machine "
    "at the time. Figures without a goal explain the one above."
)


def main(names: list[str]) -> None:
    """Measure the named sections, or all."""
    torch.set_num_threads(1)
    file = HERE / "figures.json"
    figures = json.loads(file.read_text())["sections"] if file.exists() else {}
    known = machine()
    facts = f"{known['cores']} cores, {known['processor']}, Python {known['python']}, torch {known['torch']}"
    for name in names or SECTIONS:
        found = []
        for figure in SECTIONS[name]():
            print(
                f"{name}: {figure.what}: {figure.value:.3g} {figure.unit}, {figure.goal or 'no goal'}; {figure.note}",
                flush=True,
            )
            found.append(asdict(figure))
        figures[name] = {"date": datetime.now(UTC).date().isoformat(), "figures": found}
        file.write_text(json.dumps({"machine": facts, "sections": figures}, indent=1) + "\n")
        (HERE / "figures.md").write_text(to_markdown(figures, facts))


if __name__ == "__main__":
    main(sys.argv[1:])
