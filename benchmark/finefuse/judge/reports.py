"""The files that reporters write about a board."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError
from finefuse.types import Board, Ref


def write_reports(
    board: Board, folder: Path, registry: Registry, refs: Iterable[Ref]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Let each reporter write; return the files, and one sentence for each reporter that failed."""
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
