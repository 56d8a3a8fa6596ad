"""What a reader of the board has to know of the data: left out, repeated, not changed as the suite asks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from finefuse.types import Record


def data_notes(records: Sequence[Record]) -> Iterator[str]:
    """A sentence each."""
    said = [sentence for record in records for sentence in record.get("remarks") or ()]
    yield from (f"{sentence}." for sentence in dict.fromkeys(said))
    yield from _repeated(records)
    yield from _unchanged(records)


def _repeated(records: Sequence[Record]) -> Iterator[str]:
    """The most of all seeds, by data set."""
    most: dict[str, Record] = {}
    for record in records:
        before = most.get(record["dataset"], {}).get("repeated", 0)
        if record.get("repeated", 0) > before:
            most[record["dataset"]] = record
    for dataset, record in most.items():
        yield (
            f"{dataset}: {record['repeated']} of {record['n_test']} test examples stand among those for train or val, "
            f"too, with the very same inputs (seed {record['seed']}, the most of all seeds)."
        )


def _unchanged(records: Sequence[Record]) -> Iterator[str]:
    """Strategies that took no step of training, which is where `augment` changes images."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        names = record.get("parts", {}).get("budget: augment", "[]")
        if record["kind"] == "tune" and record["status"] == "ok" and record.get("steps") == 0 and names != "[]":
            found.setdefault(names, {})[record["label"]] = None
    for names, labels in found.items():
        changes = ", ".join(json.loads(names)) if names.startswith("[") else "augment"
        yield f"Took no optimizer steps, and so saw no image changed by {changes}: {', '.join(labels)}."
