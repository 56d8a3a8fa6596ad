"""The leaderboard as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finefuse.files import write_whole
from finefuse.types import Board

SCHEMA = 1


@dataclass(frozen=True)
class Json:
    """`leaderboard.json`: strict JSON; values that are not finite are null, and the line's `null` says why."""

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the one file."""
        lines = [_line(line) for line in board.lines.astype(object).to_dict("records")]
        content: dict[str, Any] = {"schema": SCHEMA, "suite": board.suite, "better": dict(board.better), "lines": lines}
        content["pools"] = [_finite(pool) for pool in board.pools.astype(object).to_dict("records")]
        content["resolutions"] = [
            {"dataset": dataset, "backbone": backbone, **_finite(told._asdict())}
            for (dataset, backbone), told in board.resolutions.items()
        ]
        content["curves"] = [_finite(point) for point in board.curves.astype(object).to_dict("records")]
        path = folder / "leaderboard.json"
        text = json.dumps(content | {"notes": list(board.notes)}, indent=1, allow_nan=False)
        write_whole(path, text + "\n")
        return [path]


def _line(line: dict[Any, Any]) -> dict[str, Any]:
    reasons = {str(name): reason for name, value in line.items() if (reason := _why_null(str(name), value, line))}
    return {str(name): None if name in reasons else value for name, value in line.items()} | {"null": reasons}


def _finite(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The same with null for what is no number in JSON."""
    odd = {name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return {str(name): None if name in odd else value for name, value in values.items()}


def _why_null(name: str, value: object, line: dict[Any, Any]) -> str:
    """Why a value can't be a number in JSON; "" if it can, or is no number."""
    if isinstance(value, (str, tuple, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return ""
    if not line["ok"]:
        return "no run is ok"
    if name.startswith("test."):
        metric, _, part = name.removeprefix("test.").rpartition(".")
        if metric not in line["metrics"]:
            return "not a metric of this data set"
        if part == "half" and line["ok"] == 1:
            return "one seed has no interval"
        return "infinite" if isinstance(value, float) and math.isinf(value) else "not a number"
    if name == "interval":
        return "no interval"
    if name.startswith("gain"):
        return "nothing to compare with" if name == "gain" else "no interval"
    return "not reported" if name.startswith("figure.") else "not measured"
