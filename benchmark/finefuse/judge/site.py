"""A folder of static pages for many boards, with an index."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from finefuse.discovery.registry import Registry
from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.judge.board.leaderboard import Leaderboard
from finefuse.judge.board.saved import FILE
from finefuse.judge.reports import report_folder
from finefuse.text import escaped
from finefuse.types import Ref

KEPT = ("records.jsonl", "plan.json", FILE)
"""What a results folder has at least one of."""
PROSE = "README.md"
BEST = 3
"""Tables of a board whose first lines the index shows."""
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8886; }
ul { margin: 0; padding-left: 1.1rem; }
@media (max-width: 40rem) { tr, th, td { display: block; border: 0; } tr { border-bottom: 1px solid #8886; } }
"""


class Entry(NamedTuple):
    """A board of the site, its files, and what its certificate is worth."""

    name: str
    board: Leaderboard
    files: tuple[Path, ...]
    certified: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """The index, the boards, and a sentence per report that could not be written."""

    index: Path
    entries: tuple[Entry, ...]
    complaints: tuple[str, ...]


def make_site(root: Path, into: Path, registry: Registry, refs: tuple[Ref, ...] | None) -> Site:
    """Write the reports of all results folders in `root` into folders of the same names, and an index.

    Raises:
        StoreError: if there are no results, one can't be read, or nothing can be written.
    """
    folders = results_in(root)
    if not folders:
        raise StoreError(f"{root}: no results here; expected folders as `finefuse run` writes them.")
    inside = into.resolve()
    if any(inside == folder.resolve() or inside.is_relative_to(folder.resolve()) for folder in folders):
        raise StoreError(f"{into}: is a results folder itself; give another one for the site.")
    entries, complaints = list[Entry](), list[str]()
    try:
        for folder in folders:
            target = into / (folder.resolve().name if folder == root else folder.name)
            target.mkdir(parents=True, exist_ok=True)
            found = report_folder(folder, registry, refs, target)
            prose = [shutil.copyfile(folder / PROSE, target / PROSE)] if (folder / PROSE).is_file() else []
            entries.append(Entry(target.name, found.board, (*found.written, *prose), found.certified))
            complaints += [f"{folder}: {sentence}" for sentence in found.complaints]
    except OSError as error:
        raise StoreError(f"{into}: can't be written: {error.strerror or error}.") from error
    write_whole(into / "index.html", _index(into, entries))
    return Site(into / "index.html", tuple(entries), tuple(complaints))


def results_in(root: Path) -> list[Path]:
    """The results folders in a folder, or the folder itself if it is one."""
    if any((root / name).is_file() for name in KEPT):
        return [root]
    inside = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [path for path in inside if any((path / name).is_file() for name in KEPT)]


def _index(into: Path, entries: Sequence[Entry]) -> str:
    rows = "\n".join(_row(into, entry) for entry in entries)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leaderboards</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><h1>Leaderboards</h1>
<table><thead><tr><th>board</th><th>first lines</th><th>rests on</th><th>files</th></tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _row(into: Path, entry: Entry) -> str:
    pages = sorted(entry.files, key=lambda path: (path.suffix != ".html", path.suffix != ".md"))
    title = escaped(entry.board.suite)
    name = _link(into, pages[0], title) if pages else title
    firsts = "".join(f"<li>{escaped(text)}</li>" for text in _firsts(entry.board))
    files = " ".join(_link(into, path, escaped(path.name)) for path in entry.files)
    rests = "<br>".join(map(escaped, (*entry.board.notes[:1], *entry.certified)))
    return f"<tr><td>{name}</td><td><ul>{firsts}</ul></td><td>{rests}</td><td>{files}</td></tr>"


def _link(into: Path, path: Path, text: str) -> str:
    return f'<a href="{quote(path.relative_to(into).as_posix())}">{text}</a>'


def _firsts(board: Leaderboard) -> Iterator[str]:
    """The first line of some tables, and how many tables there are more."""
    firsts = board.firsts()
    for first in firsts[:BEST]:
        score = f"{first.dataset} · {first.backbone}: {first.name}, {first.metric} {first.score:.4f}"
        yield f"{score}; {first.tied} of {first.others} others share its rank" if first.tied else score
    if len(firsts) > BEST:
        yield f"and {(more := len(firsts) - BEST)} more table{'s' * (more > 1)}"
