"""Whose costs can't be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from finefuse.types import Record


def on_several_machines(records: Sequence[Record]) -> set[str]:
    """The data sets of which costs were measured on more than one machine."""
    machines: dict[str, set[str | None]] = defaultdict(set)
    for row in records:
        if row["status"] == "ok" and row["kind"] in ("tune", "fuse", "time"):
            machines[row["dataset"]].add(row.get("machine"))
    return {dataset for dataset, names in machines.items() if len(names) > 1}
