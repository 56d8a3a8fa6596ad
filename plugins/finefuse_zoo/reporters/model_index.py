"""What a line of a leaderboard scored, as the head of a model card on Hugging Face."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finefuse.errors import FinefuseError
from finefuse.files import write_whole
from finefuse.types import Board, line_name

TASKS = {"correct": "classification", "losses": "regression"}
"""Kinds of task, by the field of rows that only they have."""


@dataclass(frozen=True)
class ModelIndex:
    """`model-index.md`: a model card whose head has a `model-index`, which Hugging Face shows beside a model.

    `line` is a line of the board, such as `full`, `soup of POOL` or `soup of POOL on BACKBONE`, on all its data sets;
    without it the first. `task` is what Hugging Face calls the task, such as `image-classification`; without it
    `classification` or `regression`.
    """

    line: str = ""
    task: str = ""

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the one file.

        Raises:
            FinefuseError: if the board has no such line with a score.
        """
        path = folder / "model-index.md"
        lines = [line for line in board.lines.to_dict("records") if line["ok"] > 0]
        ways = {way: _name(line) for line in reversed(lines) for way in (_name(line), _name(line, backbone=False))}
        if self.line and self.line not in ways:
            known = ", ".join(list(dict.fromkeys(map(_name, lines)))[:5])
            raise FinefuseError(f"model-index: no line with a score is called {self.line!r}; there are {known}")
        name = ways[self.line] if self.line else next(map(_name, lines), "")
        results = [self._result(board, line) for line in lines if _name(line) == name]
        head = {"library_name": "finefuse", "model-index": [{"name": name, "results": results}]} if results else {}
        body = f"# {name}\n\nScored by finefuse in the suite {board.suite}.\n" if results else "# Nothing has a score\n"
        write_whole(path, f"---\n{json.dumps(head, indent=1)}\n---\n{body}", errors="backslashreplace")
        return [path]

    def _result(self, board: Board, line: Mapping[Any, Any]) -> dict[str, Any]:
        """All metrics of one data set, as means over seeds; JSON is YAML too."""
        values = {metric: float(line[f"test.{metric}.mean"]) for metric in line["metrics"]}
        metrics = [
            {"type": metric, "name": metric, "value": value, "args": {"seeds": int(line["ok"])}}
            for metric, value in values.items()
            if math.isfinite(value)
        ]
        ours = [row for row in board.records if row["dataset"] == line["dataset"]]
        kind = next((kind for row in ours for field, kind in TASKS.items() if row.get(field)), "other")
        return {
            "task": {"type": self.task or kind},
            "dataset": {"type": _slug(line["dataset"]), "name": line["dataset"], "split": "test"},
            "metrics": metrics,
        }


def _name(line: Mapping[Any, Any], *, backbone: bool = True) -> str:
    return line_name(line["strategy"], line["pool"], line["backbone"] if backbone else "")


def _slug(name: str) -> str:
    """What stands for the identifier of a data set, of which only the name is known."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "unnamed"
