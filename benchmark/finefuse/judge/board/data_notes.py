"""Notes on the data for readers of the board: what is left out, repeated, or not augmented as the suite says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from finefuse.rows import origin
from finefuse.types import Record

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
"""Given in full by rows and cards."""


def data_notes(records: Sequence[Record]) -> Iterator[str]:
    """One sentence for each note."""
    said = [sentence for record in records for sentence in record.get("remarks") or ()]
    yield from (f"{sentence}." for sentence in dict.fromkeys(said))
    yield from _given(records)
    yield from _repeated(records)
    yield from _unchanged(records)


def _given(records: Sequence[Record]) -> Iterator[str]:
    """Networks that were tuned elsewhere."""
    rows = [record for record in records if record["kind"] == "tune" and record.get("given")]
    found = dict.fromkeys(origin(name, given) for record in rows for name, given in record["given"].items())
    yield from (f"{DIGEST.sub(_short, sentence)}." for sentence in found)
    if len({record["seed"] for record in rows}) > 1:
        yield "Given networks are the same for all seeds: between these only the splits differ, and how they are fused."


def _short(digest: re.Match[str]) -> str:
    return f"{digest[0][:12]}..."


def _repeated(records: Sequence[Record]) -> Iterator[str]:
    """Repeated examples by data set, for the seed with the most."""
    most: dict[str, Record] = {}
    for record in records:
        before = most.get(record["dataset"], {}).get("repeated", 0)
        if record.get("repeated", 0) > before:
            most[record["dataset"]] = record
    for dataset, record in most.items():
        yield (
            f"{dataset}: {record['repeated']} of {record['n_test']} test examples have the same inputs as an example "
            f"of train or val (seed {record['seed']}, the most of all seeds)."
        )


def _unchanged(records: Sequence[Record]) -> Iterator[str]:
    """Strategies that took no step of training, which is where `augment` changes images."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record["kind"] != "tune" or record["status"] != "ok" or record.get("steps") != 0:
            continue
        if (names := record.get("parts", {}).get("budget: augment", "[]")) != "[]":
            found.setdefault(names, {})[record["label"]] = None
    for names, labels in found.items():
        changes = ", ".join(json.loads(names)) if names.startswith("[") else "augment"
        yield f"Took no optimizer steps and therefore saw no images changed by {changes}: {', '.join(labels)}."
