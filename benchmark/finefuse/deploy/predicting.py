"""What a model that a row measured says of new inputs, which its data set reads as it read its own."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from finefuse.deploy.export import bench_of, dataset_of, made_again
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Door
from finefuse.engine.work.loading import class_names, split_seed
from finefuse.engine.work.switches import current, in_force
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import FinefuseError
from finefuse.types import Dataset, Record, Task

ARRAY = ".npy"
"""The ending of inputs that need no reading: an array as the data set has them."""


@dataclass(frozen=True)
class Predictions:
    """A row for each input, under the names of `columns`: its name, and what is predicted."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_csv(self) -> str:
        """All of it as CSV, with a header."""
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()


def predictions(
    row: Record, where: Path, *, store: Path, device: str, doors: tuple[Door, ...], task: str
) -> Predictions:
    """What the module that the row measured predicts for the inputs at a place.

    Raises:
        FinefuseError: in one sentence, if the module can't be had as it was measured, or the inputs can't be read.
    """
    bench = bench_of(row, store, device, doors)
    with in_force(bench.order.settings, device), current(device):
        made = made_again(row, bench, task, weights_alone=False)
        plugin = dataset_of(made.bench)
        names, x = inputs_at(plugin, where, _seed(made.bench, plugin))
        like = made.bench.splits.test.x
        if x.shape[1:] != like.shape[1:] or x.dtype != like.dtype:
            raise FinefuseError(f"{where}: inputs are {_told(x)}, and the network takes {_told(like)}.")
        outputs = bench.fusion_trainer.outputs(made.model, x.to(like.device)).cpu()
    if wrong := plugin.task.bad_outputs(outputs, len(x)):
        raise FinefuseError(f"{where}: {wrong}.")
    return _named(plugin, made.bench, names, outputs)


def inputs_at(plugin: Dataset, where: Path, seed: int) -> tuple[Sequence[str], Tensor]:
    """Names of the inputs at a place, and the inputs as the data set's network takes them.

    Raises:
        FinefuseError: if there are none, or they can't be read.
    """
    if where.suffix == ARRAY:
        return _array(where)
    reader = capabilities.reads_inputs(plugin)
    if reader is None:
        who = type(plugin).__name__
        raise FinefuseError(
            f"{where}: {who} has no method `read_inputs` for it; give an array of inputs, a {ARRAY} file."
        )
    names, x = reader.read_inputs(where, seed)
    if not len(x):
        raise FinefuseError(f"{where}: there is no input in it.")
    return names, x


def _array(where: Path) -> tuple[Sequence[str], Tensor]:
    import numpy as np

    try:
        with where.open("rb") as file:
            x = torch.from_numpy(np.load(file, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise FinefuseError(f"{where}: no array of numbers that can be read: {error}") from error
    if not x.ndim or not len(x):
        raise FinefuseError(f"{where}: there is no input in it.")
    return [str(number) for number in range(len(x))], x


def _seed(bench: Workbench, plugin: Dataset) -> int:
    job = bench.order.job
    assert job.dataset is not None
    return split_seed(job.dataset, job.seed, plugin)


def _told(x: Tensor) -> str:
    return f"(N, {', '.join(map(str, x.shape[1:]))}) of {str(x.dtype).removeprefix('torch.')}"


def _named(plugin: Dataset, bench: Workbench, names: Sequence[str], outputs: Tensor) -> Predictions:
    """Labels with probabilities; or values, in the data set's own units where it says what these are."""
    task: Task = plugin.task
    if task.classes:
        classes, _ = class_names(plugin, _seed(bench, plugin))
        shares = outputs.double().softmax(1)
        best = shares.argmax(1).tolist()
        found = [
            (name, classes[label], *(round(share, 6) for share in row))
            for name, label, row in zip(names, best, shares.tolist(), strict=True)
        ]
        return Predictions(("input", "label", *(f"p({name})" for name in classes)), tuple(found))
    about = capabilities.description(plugin, _seed(bench, plugin)).outputs
    values = outputs.double() * float(about.get("spread", 1)) + float(about.get("centre", 0))
    said = str(about.get("target", "value"))
    heads = (said,) if task.outputs == 1 else tuple(f"{said} {number}" for number in range(1, task.outputs + 1))
    return Predictions(("input", *heads), tuple((name, *row) for name, row in zip(names, values.tolist(), strict=True)))
