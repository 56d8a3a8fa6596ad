"""The leaderboard in a few lines, and a badge."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from annotated_types import Ge

from finefuse.files import write_whole
from finefuse.types import Board

COLOUR = "#0a7ea4"
LETTER, HEIGHT = 6.6, 20
"""Pixels of a letter of 11 px, on average, and of the badge."""
LONGEST = 60


@dataclass(frozen=True)
class Summary:
    """`summary.md`, short enough for a README: the best line of each table; with `badge.svg` and `badge.json`.

    `rows` is the most tables that are shown. `badge.json` is an endpoint for shields.io.
    """

    rows: Annotated[int, Ge(1)] = 12

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the three files."""
        best = list(_best(board.with_short_names(board.lines)))
        label = f"finefuse {board.suite}"
        message = _badge(best)
        paths = [folder / name for name in ("summary.md", "badge.svg", "badge.json")]
        endpoint = {"schemaVersion": 1, "label": label, "message": message, "color": COLOUR.strip("#")}
        texts = ["\n".join(self._markdown(board, best)), _svg(label, message), json.dumps(endpoint)]
        for path, text in zip(paths, texts, strict=True):
            write_whole(path, text + "\n", errors="backslashreplace")
        return paths

    def _markdown(self, board: Board, best: list[dict[str, Any]]) -> Iterator[str]:
        yield f"![{_cell(board.suite)}](badge.svg)\n"
        yield "| data set | backbone | best | score | seconds | as good, for all that can be told |"
        yield "|:--|:--|:--|--:|--:|--:|"
        for line in best[: self.rows]:
            half = f" ± {line['half']:.4f}" if line["half"] else ""
            cells = [line["dataset"], line["backbone"], line["name"]]
            figures = [
                f"{line['metric']} {line['score']:.4f}{half}",
                line["seconds"],
                f"{line['tied']} of {line['of']}",
            ]
            yield f"| {' | '.join(map(_cell, [*cells, *figures]))} |"
        if len(best) > self.rows:
            yield f"\nand {len(best) - self.rows} more tables."
        if board.notes:
            yield f"\n{_cell(board.notes[0])} Made by finefuse."


def _best(lines: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The first line of each table that has a score, and how many lines share its rank."""
    for (dataset, backbone), group in lines[lines["ok"] > 0].groupby(["dataset", "backbone"], sort=False):
        first = group.iloc[0]
        metric = next(iter(first["metrics"]))
        half, seconds = float(first["interval"]), float(first["seconds_with_members"])
        yield {
            "dataset": dataset,
            "backbone": backbone,
            "name": f"{first['strategy']} of {first['pool']}" if first["pool"] else first["strategy"],
            "metric": metric,
            "score": float(first[f"test.{metric}.mean"]),
            "half": half if 0 < half < float("inf") else 0.0,
            "seconds": f"{seconds:.3g}" if seconds >= 0 else "",
            "tied": int((group["rank"] == first["rank"]).sum()) - 1,
            "of": len(group) - 1,
        }


def _badge(best: list[dict[str, Any]]) -> str:
    if not best:
        return "no scores"
    first = best[0]
    text = f"{first['name']} {first['metric']} {first['score']:.4g}"
    return text if len(best) == 1 else f"{text} on {first['dataset']}, and {len(best) - 1} more"


def _cell(text: object) -> str:
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")


def _svg(label: str, message: str) -> str:
    """A flat badge with two fields."""
    texts = [text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for text in (label, message)]
    left, right = (round(len(text) * LETTER) + 12 for text in texts)
    shown = [html.escape("".join(c if c.isprintable() else "?" for c in text)) for text in texts]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{shown[0]}: {shown[1]}"><title>{shown[0]}: {shown[1]}</title>'
        f'<rect width="{left}" height="{HEIGHT}" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOUR}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2}" y="14" textLength="{left - 12}">{shown[0]}</text>'
        f'<text x="{left + right / 2}" y="14" textLength="{right - 12}">{shown[1]}</text></g></svg>'
    )
