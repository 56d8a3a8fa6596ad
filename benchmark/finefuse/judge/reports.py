"""The files that reporters write about a results folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from finefuse.discovery.described import describe
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.judge.board.saved import kept_alone, saved_board
from finefuse.judge.certificates import certificate_notes
from finefuse.predictions import Predictions
from finefuse.records import read_results
from finefuse.types import Record, Ref


class Reported(NamedTuple):
    """The rows of a folder, its board, the files that were written, and a sentence per reporter that failed.

    `certified` is what the certificate beside the records is worth, empty if there is none.
    """

    rows: Sequence[Record]
    board: Leaderboard
    written: tuple[Path, ...]
    complaints: tuple[str, ...]
    certified: tuple[str, ...] = ()


def report_folder(folder: Path, registry: Registry, refs: tuple[Ref, ...] | None, into: Path | None = None) -> Reported:
    """Let reporters write, None for all that don't wait for being named; a board without records is read back for some.

    They write into the folder itself, or `into` another one.

    Raises:
        FinefuseError: if the folder can't be read.
    """
    target, certified = into or folder, certificate_notes(folder)
    if (refs is not None or into) and (kept := kept_alone(folder)):
        board = saved_board(kept)
        return Reported((), board, *_write(board, target, registry, refs), certified)
    found = read_results(folder)
    known, unit = partial(describe, registry), registry.sole("scheme", "probe")
    board = make_leaderboard(found.suite, found.rows, found.missing, found.refused, known, unit)
    coverage, *others = board.notes
    board = replace(board, notes=(coverage, *certified, *others), answers=Predictions(folder).read)
    return Reported(found.rows, board, *_write(board, target, registry, refs), certified)


def _write(
    board: Leaderboard, folder: Path, registry: Registry, refs: Iterable[Ref] | None
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files, and one sentence for each reporter that failed."""
    if refs is None:
        entries = (one.entry for one in registry.entries("reporter"))
        refs = dict.fromkeys(Ref(entry.name) for entry in entries if not entry.on_request)
    written: list[Path] = []
    complaints: list[str] = []
    for ref in refs:
        try:
            written += registry.build("reporter", ref).write(board, folder)
        except FinefuseError as error:
            complaints.append(str(error))
        except Exception as error:  # a plugin's: it must not cost the others' reports
            complaints.append(f"the reporter {str(ref)!r} failed with {type(error).__name__}: {error}")
    return tuple(written), tuple(complaints)
