"""What the lines of a table are ranked by: their scores, and what the test examples leave open of each pair."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.board.ranking import score_table
from finefuse.judge.frame import unpacked
from finefuse.judge.outcomes import samples_of, score_step, shared_examples, table_noise
from finefuse.types import Record

MOST = 700
"""Lines of one table with pairs; the ranks of a larger one are those of the whole table, whatever is shown."""
UNKNOWN = 2**32 - 1
"""In place of a count of examples that two rows don't share."""


def tables(rows: Sequence[Sequence[Record]], groups: Mapping[tuple[str, str], list[int]]) -> Iterator[dict[str, Any]]:
    """One table per data set over all backbones, or one per backbone where that is not one comparison.

    `rows` are the ok rows of each line by seed, `groups` the numbers of the lines of a data set and backbone.
    """
    data_sets: dict[str, list[tuple[str, list[int]]]] = {}
    for (dataset, backbone), lines in groups.items():
        if scored := [at for at in lines if rows[at]]:
            data_sets.setdefault(dataset, []).append((backbone, scored))
    for dataset, parts in data_sets.items():
        whole = [at for _, lines in parts for at in lines]
        if len(parts) > 1 and len(whole) <= MOST and _one_comparison([[rows[at] for at in part] for _, part in parts]):
            yield {"dataset": dataset, "across": True} | _table(whole, rows)
        else:
            yield from ({"dataset": dataset, "backbone": name} | _table(lines, rows) for name, lines in parts)


def _one_comparison(parts: Sequence[Sequence[Sequence[Record]]]) -> bool:
    """Whether all backbones are ranked by one metric, and share test examples over seeds or don't alike."""
    metrics = {row["metrics"][0] for lines in parts for rows in lines for row in rows}
    together = [rows for lines in parts for rows in lines]
    return len(metrics) == 1 and len({_shared(lines) for lines in (*parts, together)}) == 1


def _shared(lines: Sequence[Sequence[Record]]) -> bool:
    return shared_examples(samples_of(lines))


def _table(lines: Sequence[int], rows: Sequence[Sequence[Record]]) -> dict[str, Any]:
    ours = [rows[at] for at in lines]
    metric = ours[0][0]["metrics"][0]
    lower = ours[0][0][f"better.{metric}"] == "lower"
    scores, classes = score_table(ours, metric, lower=lower)
    seeds = sorted({row["seed"] for one in ours for row in one})
    table = {
        "metric": metric,
        "lower": lower,
        "lines": list(lines),
        "seeds": seeds,
        "scores": [[None if math.isnan(score) else score for score in line] for line in scores.tolist()],
        "classes": classes.tolist(),
        "steps": [score_step([line], metric) for line in ours],
    }
    return table | (_pairs(ours, metric, seeds) if len(ours) <= MOST else {"fixed": True})


def _pairs(lines: Sequence[Sequence[Record]], metric: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Of every pair, as triangles: variances (`judge.noise`), and by seed how many examples only one has right.

    `shared` is left out if it is 0 throughout, and `least`, which is then `single`. `right` has how many examples are
    right, and of how many, by line and seed.
    """
    noise = table_noise(lines, metric)
    found: dict[str, Any] = {}
    if not np.isnan(noise.single).all():
        found["single"] = _packed(noise.single.astype("<f4"))
        if noise.shared.any():
            found |= {"shared": _packed(noise.shared.astype("<f4")), "least": _packed(noise.least.astype("<f4"))}
    differing = {seed: np.full((len(lines),) * 2, UNKNOWN, np.uint32) for seed in seeds}
    right: dict[tuple[int, int], tuple[int, int]] = {}
    for (seed, examples, n, field), cells in samples_of(lines).items():
        if field == "correct" and examples:
            at = [line for line, _ in cells]
            bits = unpacked([row for _, row in cells], "correct", n).astype(np.float32)
            counts = bits.sum(1)
            differing[seed][np.ix_(at, at)] = np.rint(counts[:, None] + counts - 2 * bits @ bits.T)
            right |= {(line, seed): (int(count), n) for line, count in zip(at, counts, strict=True)}
    if right:
        found["right"] = [[right.get((line, seed)) for seed in seeds] for line in range(len(lines))]
        found["differing"] = [_packed(differing[seed].astype("<u4")) for seed in seeds]
    return found


def _packed(square: NDArray[Any]) -> str:
    """The part of a symmetric matrix below its diagonal, row by row, in base64."""
    return b64encode(square[np.tril_indices(len(square), -1)].tobytes()).decode()
