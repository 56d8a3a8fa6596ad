"""How each test example went, for all lines of a table, where the ranking score is a mean over examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.frame import numbers, unpacked
from finefuse.judge.noise import Noise, no_noise, noise_of
from finefuse.types import Record

Floats = NDArray[np.float32]
Samples = dict[tuple[int, str, int, str], list[tuple[int, Record]]]
"""By seed, digest of the test examples, their number, and the field that has their results."""
CLOSE = 1e-4
"""How far, as a share, a score may lie from the mean over its examples: scores may be computed in float32."""


def table_noise(lines: Sequence[Sequence[Record]], metric: str) -> Noise:
    """What the test examples leave open about the scores of lines, each with its ok rows, one per seed.

    A row has a part in it if its score is the share of its `correct`, the mean of its `losses`, or the root of that.

    Raises:
        StoreError: if a field is damaged.
    """
    samples = samples_of(lines)
    if not samples:
        return no_noise(len(lines))
    same = shared_examples(samples)
    values = (_having(sample[3], sample[2], cells, metric) for sample, cells in sorted(samples.items()))
    return noise_of(((having, found) for having, found in values if having), len(lines), same=same)


def samples_of(lines: Sequence[Sequence[Record]]) -> Samples:
    """The rows with results by example, each with the number of its line, by what they have in common."""
    samples: Samples = defaultdict(list)
    for at, rows in enumerate(lines):
        for row in rows:
            if field := next((name for name in ("correct", "losses") if row.get(name)), ""):
                samples[row["seed"], row.get("examples") or "", row.get("n_test", 0), field].append((at, row))
    return samples


def shared_examples(samples: Samples) -> bool:
    """Whether all seeds have the same test examples."""
    return len({sample[1:] for sample in samples}) == 1 and all(examples for _, examples, *_ in samples)


def score_step(lines: Sequence[Sequence[Record]], metric: str) -> float:
    """The smallest difference that scores can show: one test example, if all scores are shares of these; else 0."""
    rows = [row for rows in lines for row in rows]
    counts = np.array([row.get("n_test") or 0 for row in rows], float)
    scores = np.array(numbers(rows, f"test.{metric}"))
    if not counts.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        right = scores * counts
        shares = (np.abs(right - right.round()) <= CLOSE) & (right >= 0) & (right <= counts)
    return float((1 / counts).max()) if shares.all() else 0.0


def _having(field: str, n: int, cells: Sequence[tuple[int, Record]], metric: str) -> tuple[list[int], Floats]:
    """Of one seed, the lines whose score follows from single examples, and by how much each example moves it."""
    scores = np.array(numbers([row for _, row in cells], f"test.{metric}"))
    finite = np.flatnonzero(np.isfinite(scores))
    for chosen in (finite[:3], finite):  # of a metric that doesn't follow from examples no score does: three tell
        values = unpacked([cells[at][1] for at in chosen], field, n)
        means = values.mean(1, dtype=np.float64) if len(chosen) else np.zeros(0)
        near = CLOSE * np.abs(scores[chosen])
        with np.errstate(invalid="ignore"):
            plain = np.abs(means - scores[chosen]) <= near
            root = ~plain & (np.abs(np.sqrt(means) - scores[chosen]) <= near) & (field == "losses")
        used = plain | root
        if not used.any():
            return [], np.zeros((0, n), np.float32)
    moved = (values if used.all() else values[used]).astype(np.float32)
    moved[root[used]] /= np.float32(2) * scores[chosen[used & root], None].astype(np.float32)
    return [cells[at][0] for at in chosen[used]], moved
