"""The rules for data sets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finefuse.engine.randomness import seeded
from finefuse.testing.report import Check, NotRun, Report, conform, made, require
from finefuse.testing.rules import random_state_kept
from finefuse.testing.traces import leaving_no_trace, watching
from finefuse.types import Data, Dataset, Splits

PARTS = ("train", "val", "test")
SEED = 3


def check_dataset(dataset: Any, *, skip: Collection[str] = (), expected: Mapping[str, str] | None = None) -> Report:
    """Try a data set, a class or an instance, against every rule of `DATASET_CHECKS` that is not in `skip`.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(dataset, DATASET_CHECKS, skip, expected)


def _parts(splits: Splits) -> dict[str, Data]:
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def _repeats(dataset: Any) -> None:
    dataset = made(dataset)
    both = []
    for seed in (1, 2):  # of the global generators, which must not matter
        with seeded(seed):
            both.append(dataset.splits(SEED))
        dataset.splits(SEED + 1)
    first, second = map(_parts, both)
    for part in PARTS:
        same = all(torch.equal(vars(first[part])[side], vars(second[part])[side]) for side in "xy")
        require(same, f"{part} differs between two calls with one seed")


def _disjoint(dataset: Any) -> None:
    rows = {name: _rows(part.x) for name, part in _parts(made(dataset).splits(SEED)).items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = len(set(rows[one]).intersection(rows[other]))
        require(not shared, f"{shared} of {len(rows[other])} examples in {other} are in {one} as well")


def _rows(x: Tensor) -> list[bytes]:
    return [row.contiguous().numpy().tobytes() for row in x.cpu()]


def _fits(dataset: Any) -> None:
    dataset = made(dataset)
    splits = dataset.splits(SEED)
    require(splits.task == dataset.task, f"the splits are of {splits.task}, and the data set of {dataset.task}")
    for name, part in _parts(splits).items():
        require(len(part), f"{name} has no examples")
        shape = (len(part), *dataset.task.input_shape)
        require(tuple(part.x.shape) == shape, f"{name} has inputs of shape {tuple(part.x.shape)}, not {shape}")
        require(part.x.isfinite().all(), f"{name} has inputs that are not finite")
        wrong = dataset.task.bad_targets(part.y)
        require(not wrong, f"{name}: {wrong}")


def _classes(dataset: Any) -> None:
    dataset = made(dataset)
    if not dataset.task.classes:
        raise NotRun(f"{dataset.task.kind} has no classes")
    for name, part in _parts(dataset.splits(SEED)).items():
        absent = sorted(set(range(dataset.task.outputs)) - set(part.y.tolist()))
        require(not absent, f"{name} has no example of class {', '.join(map(str, absent[:5]))}")


def _fingerprint(dataset: Any) -> None:
    dataset = made(dataset)
    first, again = dataset.fingerprint(), dataset.fingerprint()
    require(isinstance(first, str) and first, f"its fingerprint is {first!r}, and no text that stands for the content")
    require(first == again, f"its fingerprint is {first!r}, and later {again!r}")
    given = {one.name: vars(dataset)[one.name] for one in fields(dataset)}
    paths = {name: value for name, value in given.items() if isinstance(value, Path) and value.exists()}
    if not paths:
        raise NotRun("none of its parameters is a path, so its content can't be changed")
    for name, path in paths.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
            before = replace(dataset, **{name: copy}).fingerprint()
            what = _change(copy)
            after = replace(dataset, **{name: copy}).fingerprint()
        require(before != after, f"its fingerprint stays the same when {what} of {name!r} changes")


def _change(path: Path) -> str:
    """Change the last file in a place by one byte."""
    file = path if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())[-1]
    content = bytearray(file.read_bytes())
    content[-1:] = bytes([content[-1] ^ 1]) if content else b"1"
    file.write_bytes(content)
    return f"the last byte of {file.name}"


def _offline(dataset: Any) -> None:
    dataset = made(dataset)
    with watching() as watcher:
        dataset.fingerprint()
        dataset.splits(SEED)
    require(not watcher.asked, f"it asks {', '.join(sorted(set(watcher.asked))[:3])} on the network")


def _traces(dataset: Dataset | type) -> None:
    one: Dataset = made(dataset)
    with random_state_kept(), leaving_no_trace():
        one.fingerprint()
        one.splits(SEED)


DATASET_CHECKS: dict[str, Check] = {
    "same-seed-same-splits": _repeats,
    "splits-are-disjoint": _disjoint,
    "fits-its-task": _fits,
    "classes-are-present": _classes,
    "fingerprint-is-of-the-content": _fingerprint,
    "nothing-is-downloaded": _offline,
    "nothing-else-is-changed": _traces,
}
