"""Pools across data sets: how good a line is for each task, and by the task's own model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from finefuse.judge.aggregate import over_tasks
from finefuse.judge.frame import numbers
from finefuse.judge.statistics import mean_interval
from finefuse.types import Record
from finefuse.types.aggregate import Aggregate

OVER = "other tasks"
BOUNDS = {"single": "each task's own model", "untouched": "untouched body, tuned heads"}


def task_fields(rows: Sequence[Record]) -> dict[str, Any]:
    """What a line's good rows say of each task: the score it is ranked by, and that by its own model's."""
    tasks = rows[0].get("tasks") or () if rows else ()
    if not tasks:
        return {"tasks": (), "statistics": "", "aggregate": "", "tasks.half": math.nan}
    fields: dict[str, Any] = {"tasks": tuple(tasks), "statistics": rows[0].get("statistics") or ""}
    fields |= {"aggregate": str(Aggregate.of(rows[0])), "tasks.half": over_tasks(rows)}
    for task, metric in zip(tasks, rows[0]["ranked_by"], strict=True):
        for name, field in {"score": metric, "normalised": "normalised"}.items():
            values = numbers(rows, f"task.{task}.test.{field}")
            fields[f"task.{task}.{name}.mean"], fields[f"task.{task}.{name}.half"] = mean_interval(values)
    return fields


def bound_fields(rows: Sequence[Record]) -> dict[str, Any]:
    """The score of each task's own model, and of the body before any tuning, as means over seeds."""
    tasks = rows[0].get("tasks") or () if rows else ()
    fields: dict[str, Any] = {"tasks": tuple(tasks)} if tasks else {}
    for task, metric in zip(tasks, rows[0]["ranked_by"] if tasks else (), strict=True):
        for bound in BOUNDS:
            values = numbers(rows, f"task.{task}.{bound}.{metric}")
            fields[f"task.{task}.{bound}.mean"] = mean_interval(values)[0]
    return fields


def task_table(lines: pd.DataFrame, pools: pd.DataFrame) -> pd.DataFrame | None:
    """For the bounds and every line of a group the scores by task: `0.9312 (0.971)`, the second by its own model's.

    None for a group of one task.
    """
    lines = lines[lines["ok"] > 0]
    if lines.empty or "tasks" not in lines or not lines["tasks"].iloc[0]:
        return None
    bounds = [pool for pool in pools.to_dict("records") if pool["ok"]]
    rows = [_bound(pool, bound) for pool in bounds for bound in BOUNDS]
    return pd.DataFrame([*rows, *map(_line, lines.to_dict("records"))]).fillna("")


def _bound(pool: Mapping[Any, Any], bound: str) -> dict[str, str]:
    scores = {task: f"{pool[f'task.{task}.{bound}.mean']:.4f}" for task in pool["tasks"]}
    return {"strategy": BOUNDS[bound], "pool": pool["pool"], **scores}


def _line(line: Mapping[Any, Any]) -> dict[str, str]:
    means = {task: (line[f"task.{task}.score.mean"], line[f"task.{task}.normalised.mean"]) for task in line["tasks"]}
    scores = {task: f"{score:.4f} ({ratio:.3f})" for task, (score, ratio) in means.items()}
    spread = {OVER: f"± {line['tasks.half']:.3f}" if 0 < line["tasks.half"] < math.inf else ""}
    return {"strategy": line["strategy"], "pool": line["pool"], **scores, **spread}


def aggregate_note(lines: pd.DataFrame) -> str:
    """How the scores of a group's tasks become one figure, and what its intervals are of."""
    way = next(filter(None, lines["aggregate"]), "")
    return (
        f"normalised: {way}, of the tasks' scores to those of their own models on the same test examples; ± is of "
        "seeds and test examples for these tasks, and under "
        f"`{OVER}` of which tasks were taken (a jackknife over them)."
    )
