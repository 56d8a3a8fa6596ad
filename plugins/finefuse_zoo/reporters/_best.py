"""The best line of each table of a board."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def best_lines(lines: pd.DataFrame) -> Iterator[dict[str, Any]]:
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


def told(best: list[dict[str, Any]]) -> str:
    """The first of them, as a badge has it."""
    if not best:
        return "no scores"
    first = best[0]
    text = f"{first['name']} {first['metric']} {first['score']:.4g}"
    return text if len(best) == 1 else f"{text} on {first['dataset']}, and {len(best) - 1} more"
