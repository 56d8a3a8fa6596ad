"""What a verb prints: its results to stdout, all else to stderr, and nothing that controls a terminal."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import ParamSpec, Protocol, TextIO, TypeVar

from finefuse.text import printable, single_line

P = ParamSpec("P")
T = TypeVar("T")
_results: list[TextIO | None] = []
NARROW = 120
"""Columns of a terminal that doesn't say how many it has."""


class Shown(Protocol):
    """What has tables for people: a leaderboard, or what `report` prints."""

    def to_markdown(self) -> str:
        """As Markdown."""

    def to_text(self, width: int = NARROW) -> str:
        """In lines of at most so many columns."""


def say(*texts: object) -> None:
    """Print results, one text after the other, each on lines of its own.

    Raises:
        OSError: if stdout can't take them, which `main` tells.
    """
    stream = _results[-1] if _results else sys.stdout
    if stream is not None:  # else it was closed before we started
        stream.writelines(f"{printable(text)}\n" for text in texts)
        stream.flush()


def say_board(board: Shown) -> None:
    """Print tables: as wide as the terminal, or as Markdown where stdout is none."""
    stream = _results[-1] if _results else sys.stdout
    on_terminal = stream is not None and stream.isatty()
    say(board.to_text(shutil.get_terminal_size((NARROW, 0)).columns) if on_terminal else board.to_markdown())


def complain(text: object) -> None:
    """Print one line to stderr."""
    print(single_line(text), file=sys.stderr)


def keeps_stdout(verb: Callable[P, T]) -> Callable[P, T]:
    """The verb, during which stdout takes what `say` prints and nothing else."""

    @functools.wraps(verb)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        with _stdout_for_results():
            return verb(*args, **kwargs)

    return alone


@contextmanager
def _stdout_for_results() -> Iterator[None]:
    """What others print, plugins and the programs that they start, goes to stderr."""
    before = sys.stdout
    own = _taken_aside(before)
    _results.append(own or before)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()
        if own is not None:
            os.dup2(own.fileno(), before.fileno())
            with suppress(OSError):  # what could not be written has been said
                own.close()


def _taken_aside(stream: TextIO) -> TextIO | None:
    """A stream to where this one leads, whose descriptor leads to stderr from now on; None if it has none."""
    try:
        descriptor, elsewhere = stream.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # a test's, a notebook's, or closed
        return None
    stream.flush()
    own = open(os.dup(descriptor), "w", encoding=stream.encoding, errors=stream.errors)  # noqa: PTH123, SIM115
    os.dup2(elsewhere, descriptor)
    return own
