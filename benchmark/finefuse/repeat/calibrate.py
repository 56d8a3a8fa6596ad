"""A against A on this machine: the noise of its runs, and what the gate makes of runs in which nothing changed."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from scipy import special

from finefuse.errors import FinefuseError
from finefuse.judge.compare import compare
from finefuse.judge.gate.calibration import Calibration, Setting
from finefuse.judge.gate.policy import NOISY
from finefuse.judge.gate.sides import read_side
from finefuse.judge.gate.times import ratios
from finefuse.repeat.environments import current_environment
from finefuse.repeat.running import Work, check, run_suite
from finefuse.types import Record, Verdict

LEAST = 0.005
"""Noise below this is taken for this: a measure that never moved in a few pairs may still move."""
SURE = 0.9
"""How sure it is that the noise is no larger than told, for a number of pairs whose lines all move together."""

Ratios = Mapping[str, Sequence[float]]
"""Logarithms of ratios of one pair of runs, by measure."""


def calibrate(
    suite: str = "quick",
    *,
    pairs: int = 5,
    only: Sequence[str] = (),
    device: str = "auto",
    portable: bool = False,
    workers: int | None = None,
    plugins: Sequence[str] = (),
    tell: Callable[[str], None] | None = None,
) -> Calibration:
    """Measure the noise of runs on this machine: a suite against itself, in pairs, every time from nothing.

    Args:
        suite: name of a suite, or path to a TOML file.
        pairs: how many pairs of runs, two or more.
        only: shell-style patterns on the labels of schemes and fusions; what those need is kept.
        device: as in `run`.
        portable: as in `run`.
        workers: as in `run`.
        plugins: files or modules to use besides what is installed.
        tell: is told of the progress.

    Raises:
        FinefuseError: if there are fewer than two pairs, a run can't be carried out, or nothing was measured.
    """
    if pairs < 2:
        raise FinefuseError(f"the noise is told by 2 pairs or more, not {pairs}")
    work = Work(suite, tuple(only), device, portable, workers, tuple(plugins))
    here = current_environment()
    check(here, work)
    with tempfile.TemporaryDirectory(prefix="finefuse-calibrate-") as scratch:
        runs = []
        for number in range(2 * pairs):
            if tell:
                tell(f"run {number + 1} of {2 * pairs}")
            runs.append(run_suite(here, work, Path(scratch, str(number))))
        return calibration(list(zip(runs[::2], runs[1::2], strict=True)))


def calibration(pairs: Sequence[tuple[Path, Path]]) -> Calibration:
    """What pairs of results folders come to in which nothing changed.

    Raises:
        FinefuseError: if nothing was measured in them, or they are not of one machine.
    """
    rows = [_pairs(a, b) for a, b in pairs]
    every = [row for own in rows for pair in own for row in pair]
    settings = {Setting.of(row) for row in every}
    if len(settings) != 1:
        raise FinefuseError("nothing was measured twice" if not settings else "the runs are not of one machine")
    moved = [_moved(own) for own in rows]
    noise = noise_of(moved)
    if not noise:
        raise FinefuseError(
            "nothing was measured that other work didn't slow: calibrate on a machine that is left alone"
        )
    alarms = sum(_alarmed(pairs[i], noise_of([*moved[:i], *moved[i + 1 :]])) for i in range(len(pairs)))
    return Calibration(
        *settings.pop(),
        suite=str(every[0]["suite"]),
        pairs=len(pairs),
        noise=noise,
        alarms=alarms,
        compared=2 * len(pairs),
        visible=_visible(pairs, noise),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def noise_of(moved: Sequence[Ratios]) -> dict[str, float]:
    """The noise of each measure, from the logarithms of ratios in several pairs; none where nothing was measured.

    The root of their mean square, times how much too small that may be: all lines of a run may move together, so a pair
    counts as one observation, and the factor is that of the chi-squared distribution with as many degrees of freedom.
    """
    found = {}
    for measure in NOISY:
        own = [ratios[measure] for ratios in moved if ratios.get(measure)]
        if own:
            squares = [math.fsum(ratio**2 for ratio in ratios) / len(ratios) for ratios in own]
            larger = math.sqrt(len(own) / special.chdtri(len(own), SURE))
            found[measure] = max(LEAST, larger * math.sqrt(math.fsum(squares) / len(squares)))
    return found


def _pairs(a: Path, b: Path) -> list[tuple[Record, Record]]:
    """The rows of cells that are ok in both."""
    old, new = read_side(a).rows, read_side(b).rows
    both = [(row, new[cell]) for cell, row in old.items() if cell in new]
    return [pair for pair in both if all(row["status"] == "ok" for row in pair)]


def _moved(rows: Sequence[tuple[Record, Record]]) -> Ratios:
    """What moved from one run to the other, without what other work may have moved."""
    moved: dict[str, list[float]] = defaultdict(list)
    for measure, ratio, disturbed in ratios(rows):
        if not disturbed:
            moved[measure].append(ratio)
    return moved


def _alarmed(pair: tuple[Path, Path], noise: Mapping[str, float]) -> int:
    """In how many directions the gate finds a pair slower or larger."""
    both = (compare(*folders, noise=noise) for folders in (pair, pair[::-1]))
    return sum(any(_of_noise(v) and v.judgement == "regressed" for v in found.verdicts) for found in both)


def _visible(pairs: Sequence[tuple[Path, Path]], noise: Mapping[str, float]) -> dict[str, float]:
    """The smallest growth that would have been seen, for the median line, by measure."""
    verdicts = [verdict for verdict in compare(*pairs[0], noise=noise).verdicts if _of_noise(verdict)]
    seen: dict[str, list[float]] = defaultdict(list)
    for verdict in verdicts:
        seen[_of_noise(verdict)].append(verdict.visible)
    return {measure: median(seen[measure]) for measure in noise if seen[measure]}


def _of_noise(verdict: Verdict) -> str:
    """The measure of a verdict on seconds, latency or memory; "" for others."""
    measure = verdict.measure.partition(".")[0]
    return measure if measure in NOISY and verdict.scope == "line" else ""
