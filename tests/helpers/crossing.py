"""A suite with a pool across two small data sets, its run, and the rows of it that are meant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import finefuse
from finefuse.discovery.registry import Registry
from finefuse.engine.store.artifacts import Artifacts
from finefuse.types import Ref
from helpers.runs import FIXTURES

TINY = str(FIXTURES / "plugins" / "tiny.py")
MANY = {"use": "points", "outputs": 4, "centres": 7}
TASKS = {"of": ["full"], "datasets": "*"}
SUITE: dict[str, Any] = {
    "name": "tasks",
    "budget": {"epochs": 3, "batch_size": 16},
    "datasets": ["points", MANY],
    "backbones": ["tiny"],
    "schemes": ["full"],
    "fusions": [
        *({"use": "soup", "rounds": 2}, "own-members", "joint-training", "distill", "mean-probs", "repair"),
        *({"use": "task-arithmetic", "scaling": 0.4}, "git-rebasin", "weighted-soup"),
        {"use": "task-arithmetic", "choose": {"scaling": [0.0, 0.4, 3.0]}},
        {"use": "task-arithmetic", "as": "wild", "choose": {"scaling": [0.4, 3e38]}},
        {"use": "wise-ft", "a": "val"},
    ],
    "pools": {"tasks": TASKS},
    "latency": [1],
    "checkpoints": 0,
}
ONE, OTHER = "points", "points(centres=7, outputs=4)"


def ran(folder: Path, **changes: Any) -> SimpleNamespace:
    how = {"device": "cpu", "workers": 0, "quiet": True} | changes.pop("how", {})
    run = finefuse.run(SUITE | changes, plugins=TINY, out=folder / "out", store=folder / "store", **how)
    return SimpleNamespace(rows=run.rows, board=run.board, store=Artifacts(folder / "store"), folder=folder)


def only(rows: list[dict], **wanted: Any) -> dict:
    (found,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


def fused(run: SimpleNamespace, label: str, **wanted: Any) -> dict:
    return only(run.rows, kind="fuse", label=label, **{"round": 0} | wanted)


def splits(**params: Any) -> Any:
    from finefuse.engine.work.loading import split_seed

    dataset = Registry((TINY,)).build("dataset", Ref.of("points", **params))
    return dataset.splits(split_seed(Ref.of("points", **params), 0, dataset))


def accuracy(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return float((outputs.argmax(-1) == y).double().mean())
