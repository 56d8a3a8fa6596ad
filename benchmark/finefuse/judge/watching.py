"""Keeps the reports of a run current while it goes on, and tells the best lines so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

from finefuse.judge.board.leaderboard import Leaderboard
from finefuse.judge.reports import Reported
from finefuse.types import First, Job, Record

EVERY = 10.0
"""Seconds that pass at least before the reports are written again."""
SOON = 2.0
"""The same where none are written and the best lines are only shown."""
SHARE = 0.05
"""Of the run's time that writing them may take."""
SHOWN = 6
"""Lines that are told: the first of so many tables, or more of each of a few."""


class Watching:
    """An observer that has the reports written again, and shows the best lines, or tells what changed."""

    def __init__(
        self,
        write: Callable[[], Reported],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[Sequence[First]], None] | None = None,
        every: float = EVERY,
    ) -> None:
        self._write, self._tell, self._clock, self._show, self._every = write, tell, clock, show, every
        self._next = -math.inf
        self._told: set[str] = set()

    def job_ends(self, _: Job, record: Record) -> None:
        """A row was written; only some change the board."""
        if record["kind"] in ("tune", "fuse") and self._clock() >= self._next:
            began = self._clock()
            found = self._write()
            ended = self._clock()
            self._next = ended + max(self._every, (ended - began) / SHARE)
            if self._show:
                self._show(best_lines(found.board))
            self._news([*([] if self._show else _told(found.board)), *found.complaints])

    def _news(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if sentence not in self._told:
                self._tell(sentence)
        self._told = set(sentences)


def best_lines(board: Leaderboard) -> Sequence[First]:
    """The first line of each table, more of each where there are few tables."""
    tables = max(1, len(board.firsts()))
    return board.firsts(max(1, SHOWN // tables))[:SHOWN]


def _told(board: Leaderboard) -> Iterator[str]:
    """The first line of some tables: `best on digits · cnn-s: full, accuracy 0.9310 (2 of 3 runs)`."""
    for first in board.firsts()[:SHOWN]:
        score = f"{first.metric} {first.score:.4f} ({first.ok} of {first.planned} runs)"
        yield f"best on {first.dataset} · {first.backbone}: {first.name}, {score}"
