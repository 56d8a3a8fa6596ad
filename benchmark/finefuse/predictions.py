"""Predicted classes, in a file beside the records, so that these stay small: one line per row and per set of labels.

`docs/records.md` has the format. A folder without the file loses nothing but confusions. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from finefuse.errors import StoreError
from finefuse.records import append_line, reading
from finefuse.types import Record

FILE = "predictions.jsonl"
Numbers = NDArray[np.int64]
_BEGINS = re.compile(rb'\{"(key|labels)":"([^"\\]+)"')
"""How a line begins: what it is about can be told without decoding it."""


@dataclass(frozen=True)
class Answers:
    """The classes of the test examples of one task, (n_test,), and those predicted; `names` has one for each class."""

    task: str
    names: tuple[str, ...]
    true: Numbers
    predicted: Numbers


def packed(answers: Sequence[Answers]) -> Record:
    """The fields of a fresh row that hold answers: `predicted`, which stays, and `predictions`, which `keep` takes."""
    if not answers:
        return {}
    tasks: list[dict[str, str]] = []
    labels: list[dict[str, Any]] = []
    for one in answers:
        known = {"names": list(one.names), "true": _pack(one.true, len(one.names))}
        labels.append({"labels": _digest(one.names, one.true)} | known)
        predicted = _pack(one.predicted, len(one.names))
        tasks.append({"task": one.task, "labels": labels[-1]["labels"], "predicted": predicted})
    digest = _digest_of_tasks(tasks, [one.predicted for one in answers])
    return {"predicted": digest, "predictions": {"tasks": tasks, "labels": labels}}


class Predictions:
    """`predictions.jsonl` of one results folder."""

    def __init__(self, folder: Path) -> None:
        self.file = Path(folder) / FILE

    def known(self) -> set[str]:
        """The keys of the rows, and the digests of the labels, that have a line."""
        return {found[2].decode() for line in self.lines() if (found := _BEGINS.match(line))}

    def keep(self, row: Record, predictions: Mapping[str, Any], known: set[str]) -> None:
        """Write what `packed` made for a row, unless it is known; `known` learns of it.

        Raises:
            StoreError: if it can't be written.
        """
        lines = [*predictions["labels"], {"key": row["key"], "tasks": predictions["tasks"]}]
        for line in lines:
            name = next(iter(line.values()))
            if name not in known:
                append_line(self.file, line)
                known.add(name)

    def read(self, rows: Sequence[Record]) -> dict[str, tuple[Answers, ...]]:
        """The answers of rows that have some here, by their keys.

        Raises:
            StoreError: if the file can't be read, or what it holds is not what a row says.
        """
        wanted = {row["key"]: row for row in rows if row.get("predicted")}
        found: dict[str, tuple[int, bytes]] = {}
        labels: dict[str, tuple[int, bytes]] = {}
        for number, line in enumerate(self.lines() if wanted else (), 1):
            begins = _BEGINS.match(line)
            if begins and begins[1] == b"labels":
                labels.setdefault(begins[2].decode(), (number, line))
            elif begins and (key := begins[2].decode()) in wanted:
                found.setdefault(key, (number, line))
        return {key: self._answers(wanted[key], *found[key], labels) for key in wanted if key in found}

    def _answers(
        self, row: Record, number: int, line: bytes, labels: Mapping[str, tuple[int, bytes]]
    ) -> tuple[Answers, ...]:
        try:
            tasks = json.loads(line)["tasks"]
            told = [json.loads(labels[task["labels"]][1]) for task in tasks]
            found = [
                Answers(task["task"], tuple(one["names"]), *(_unpack(text, len(one["names"])) for text in texts))
                for task, one in zip(tasks, told, strict=True)
                for texts in [(one["true"], task["predicted"])]
            ]
            sound = all(_digest(one.names, one.true) == task["labels"] for one, task in zip(found, tasks, strict=True))
            sound &= _digest_of_tasks(tasks, [one.predicted for one in found]) == row["predicted"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error):
            self._refuse(row, number)
        if not sound or not _agree(row, found):
            self._refuse(row, number)
        return tuple(found)

    def _refuse(self, row: Record, number: int) -> NoReturn:
        raise StoreError(
            f"{self.file}:{number}: these are not the predicted classes of {row['cell']}; delete the file, and "
            "`finefuse run` writes it again from the store."
        )

    def lines(self) -> Iterator[bytes]:
        """The whole lines; one that a kill has torn is none."""
        with reading(self.file):
            if self.file.exists():
                with self.file.open("rb") as file:
                    yield from (line for line in file if line.endswith(b"\n"))


def _agree(row: Record, answers: Sequence[Answers]) -> bool:
    """Whether the row's own bits, if they are of the same examples, are those of the answers."""
    right = np.concatenate([one.true == one.predicted for one in answers])
    if row.get("correct") is None or len(right) != row.get("n_test"):
        return True
    return b64encode(np.packbits(right).tobytes()).decode() == str(row["correct"])


def _width(classes: int) -> str:
    return "<u1" if classes <= 2**8 else "<u2" if classes <= 2**16 else "<u4"


def _pack(numbers: Numbers, classes: int) -> str:
    return b64encode(zlib.compress(numbers.astype(_width(classes)).tobytes(), 9)).decode()


def _unpack(text: str, classes: int) -> Numbers:
    data = zlib.decompress(b64decode(text, validate=True))
    numbers: Numbers = np.frombuffer(data, _width(classes)).astype(np.int64)
    if numbers.max(initial=0) >= classes:
        raise ValueError("a class has no name")
    return numbers


def _digest(about: object, *numbers: Numbers) -> str:
    sha = hashlib.sha256(json.dumps(about).encode())
    for some in numbers:
        sha.update(some.astype("<u4").tobytes())
    return sha.hexdigest()[:32]


def _digest_of_tasks(tasks: Sequence[Mapping[str, str]], predicted: Sequence[Numbers]) -> str:
    return _digest(
        [[task["task"], task["labels"], len(some)] for task, some in zip(tasks, predicted, strict=True)], *predicted
    )
