"""What the lines of a table are ranked by: their scores, and what the test examples leave open of each pair."""

from __future__ import annotations

import math
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.board.ranking import score_table
from finefuse.judge.frame import unpacked
from finefuse.judge.outcomes import samples_of, score_step, shared_examples, table_noise
from finefuse.types import Record

ROOM = 3 * 2**20
"""Bytes of all pairs: if they need more, tests by seed are left out, then the pairs of the largest tables."""
MOST = 700
"""Lines of a table over all backbones."""
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
    found: list[tuple[dict[str, Any], list[int]]] = []
    for dataset, parts in data_sets.items():
        whole = [at for _, lines in parts for at in lines]
        if len(parts) > 1 and len(whole) <= MOST and _one_comparison([[rows[at] for at in part] for _, part in parts]):
            found.append(({"dataset": dataset, "across": True}, whole))
        else:
            found += [({"dataset": dataset, "backbone": name}, lines) for name, lines in parts]
    most, tests = _room([len(lines) for _, lines in found], max((len(one) for one in rows), default=0))
    for where, lines in found:
        ours = [rows[at] for at in lines]
        table = where | {"lines": lines} | _table(ours)
        if len(lines) > most:
            yield table | {"fixed": True}
        else:
            yield table | _variances(ours, table["metric"]) | (_tests(ours, table["seeds"]) if tests else {})


def _room(lines: Sequence[int], seeds: int) -> tuple[int, bool]:
    """How many lines a table may have to be there with its pairs, and whether there is room for tests by seed."""
    used, most = 0, 0
    for size, tables in sorted(Counter(lines).items()):
        used += 3 * 4 * tables * (size * (size - 1) // 2)
        if used > ROOM:
            return most, False
        most = size
    return most, used + used * seeds // 3 <= ROOM


def _one_comparison(parts: Sequence[Sequence[Sequence[Record]]]) -> bool:
    """Whether all backbones are ranked by one metric, and share test examples over seeds or don't alike."""
    metrics = {row["metrics"][0] for lines in parts for rows in lines for row in rows}
    together = [rows for lines in parts for rows in lines]
    return len(metrics) == 1 and len({_shared(lines) for lines in (*parts, together)}) == 1


def _shared(lines: Sequence[Sequence[Record]]) -> bool:
    return shared_examples(samples_of(lines))


def _table(lines: Sequence[Sequence[Record]]) -> dict[str, Any]:
    metric = lines[0][0]["metrics"][0]
    lower = lines[0][0][f"better.{metric}"] == "lower"
    scores, classes = score_table(lines, metric, lower=lower)
    return {
        "metric": metric,
        "lower": lower,
        "seeds": sorted({row["seed"] for line in lines for row in line}),
        "scores": [[None if math.isnan(score) else score for score in line] for line in scores.tolist()],
        "classes": classes.tolist(),
        "steps": [score_step([line], metric) for line in lines],
    }


def _variances(lines: Sequence[Sequence[Record]], metric: str) -> dict[str, Any]:
    """Of every pair the variances of `judge.noise`, as triangles: all three, or `single` alone.

    Without `shared` it is 0, and `least` is `single`.
    """
    noise = table_noise(lines, metric)
    if np.isnan(noise.single).all():
        return {}
    found = {"single": _packed(noise.single.astype("<f4"))}
    if noise.shared.any():
        found |= {"shared": _packed(noise.shared.astype("<f4")), "least": _packed(noise.least.astype("<f4"))}
    return found


def _tests(lines: Sequence[Sequence[Record]], seeds: Sequence[int]) -> dict[str, Any]:
    """`right`: by line and seed examples right, of how many; `differing`: by pair, those right in one only."""
    differing = {seed: np.full((len(lines),) * 2, UNKNOWN, np.uint32) for seed in seeds}
    right: dict[tuple[int, int], tuple[int, int]] = {}
    for (seed, examples, n, field), cells in samples_of(lines).items():
        if field == "correct" and examples:
            at = [line for line, _ in cells]
            bits = unpacked([row for _, row in cells], "correct", n).astype(np.float32)
            counts = bits.sum(1)
            differing[seed][np.ix_(at, at)] = np.rint(counts[:, None] + counts - 2 * bits @ bits.T)
            right |= {(line, seed): (int(count), n) for line, count in zip(at, counts, strict=True)}
    if not right:
        return {}
    return {
        "right": [[right.get((line, seed)) for seed in seeds] for line in range(len(lines))],
        "differing": [_packed(differing[seed].astype("<u4")) for seed in seeds],
    }


def _packed(square: NDArray[Any]) -> str:
    """The part of a symmetric matrix below its diagonal, row by row, in base64."""
    return b64encode(square[np.tril_indices(len(square), -1)].tobytes()).decode()
