"""The leaderboard as a page that opens from disk."""

from __future__ import annotations

import gzip
import html
import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from finefuse.files import write_whole
from finefuse.types import Board
from finefuse_zoo.reporters._bundle import FOLDER, bundle


@dataclass(frozen=True)
class Page:
    """`leaderboard.html`: one file that asks for nothing else; what it shows can be filtered, and is ranked anew."""

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the one file."""
        document = json.dumps(board.document(), allow_nan=False, separators=(",", ":"))
        script, style = f'"use strict";\n{bundle("main")}', (FOLDER / "style.css").read_text(encoding="utf-8")
        parts = {
            "title": html.escape(ascii(board.suite)[1:-1]),
            "style": style,
            "style hash": _hash(style),
            "script": script,
            "script hash": _hash(script),
            "document": b64encode(gzip.compress(document.encode(), 6, mtime=0)).decode(),
        }
        text = (FOLDER / "page.html").read_text(encoding="utf-8")
        for name, part in parts.items():
            text = text.replace(f"<!-- {name} -->", part)
        path = folder / "leaderboard.html"
        write_whole(path, text)
        return [path]


def _hash(text: str) -> str:
    """What the page's policy names: only this script runs, whatever a record holds."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
