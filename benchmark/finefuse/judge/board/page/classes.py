"""Which classes lines take for which: as much of it as a page has room for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, zip_longest
from typing import Any

from finefuse.errors import FinefuseError
from finefuse.judge.classes import ClassScores, scores_by_task
from finefuse.predictions import Answers
from finefuse.types import Record

ROOM = 300_000
"""Characters of all lines' classes."""
EXAMPLES = 5_000_000
"""Test examples, of all lines and seeds, that are looked at."""
WHOLE = 30
"""Classes up to which all confusions are there; of more only the most frequent ones."""
MOST = 30
"""Confusions of more classes."""
Answering = Callable[[Sequence[Record]], Mapping[str, tuple[Answers, ...]]]
"""The predicted classes of rows, by their keys, as far as there are any."""


def no_answers(rows: Sequence[Record]) -> Mapping[str, tuple[Answers, ...]]:  # noqa: ARG001
    """Where no predicted classes are kept."""
    return {}


def classes(rows: Sequence[Sequence[Record]], tables: Iterable[Sequence[int]], answers: Answering) -> dict[str, Any]:
    """By line its scores by class, of all seeds together; the first lines of each table come first.

    `rows` are the ok rows of each line, and `tables` the lines of each table, ordered by rank. `left_out` says how many
    lines there was no room for, and `trouble` why nothing is known.
    """
    firsts = (line for lines in zip_longest(*tables) for line in lines if line is not None)
    lines = [line for line in firsts if any(row.get("predicted") for row in rows[line])]
    sizes = accumulate(sum(row.get("n_test") or 0 for row in rows[line]) for line in lines)
    looked_at = [line for line, size in zip(lines, sizes, strict=True) if size <= EXAMPLES]
    try:
        known = answers([row for line in looked_at for row in rows[line]])
    except FinefuseError as error:
        return {"names": [], "lines": {}, "left_out": 0, "trouble": str(error)}
    there = [line for line in looked_at if any(row["key"] in known for row in rows[line])]
    names: dict[tuple[str, ...], int] = {}
    found: dict[int, list[dict[str, Any]]] = {}
    used = 0
    for line in there:
        own = scores_by_task(known[row["key"]] for row in rows[line] if row["key"] in known)
        every = dict.fromkeys([*names, *(one.names for one in own)])
        numbers = {some: number for number, some in enumerate(every)}
        told = [_told(one, numbers[one.names]) for one in own]
        used += len(json.dumps([told, list(numbers)[len(names) :]]))
        if used > ROOM:
            break
        found[line], names = told, numbers
    left_out = len(lines) - len(looked_at) + len(there) - len(found)
    return {"names": list(names), "lines": found, "left_out": left_out, "trouble": ""}


def _told(scores: ClassScores, names: int) -> dict[str, Any]:
    """The scores of one task: by class, and the confusions `taken` as triples of classes and a count."""
    wrong = scores.taken[scores.taken["true number"] != scores.taken["predicted number"]]
    whole = len(scores.names) <= WHOLE
    shown = wrong if whole else wrong.head(MOST)
    return {
        "task": scores.task,
        "names": names,
        "seeds": scores.seeds,
        **{name: scores.classes[name].tolist() for name in ("examples", "predicted", "right")},
        "taken": shown[["true number", "predicted number", "count"]].values.tolist(),
        "whole": whole,
    }
