"""Two results folders in the making, and what the gate says of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from finefuse.judge.compare import Comparison, compare
from finefuse.types import Record, Verdict

N = 1000
Rows = list[Record]


def flip(lost: int, won: int, n: int = N) -> list[bool]:
    """Of a base that has the first 900 right, `lost` of these are wrong now and `won` others right."""
    return [lost <= i < 900 or 900 <= i < 900 + won for i in range(n)]


BASE = flip(0, 0)


class Pair:
    """Two results folders in the making."""

    def __init__(self, folder: Path, build: ModuleType) -> None:
        self.folder, self.build = folder, build

    def compare(
        self, base: Iterable[Record], new: Iterable[Record], *, planned: Any = (), **options: Any
    ) -> Comparison:
        """Compare what stands in two fresh folders; `planned` are cells that only the new plan names."""
        old = self.build.write(self.folder / "base", base, ())
        now = self.build.write(self.folder / "new", new, planned)
        return compare(old, now, **options)

    def one(self, base: Record | None, new: Record | None, **options: Any) -> tuple[Verdict, bool]:
        """The verdict on one cell, beside another cell that is the same, and whether the gate passes."""
        same = self.row(seed=9)
        found = self.compare([same, *([base] if base else [])], [same, *([new] if new else [])], **options)
        (verdict,) = [verdict for verdict in found.cells if "/s9/" not in verdict.cell]
        return verdict, found.passed

    def row(self, right: Any = BASE, **fields: Any) -> Record:
        """An ok row with these bits."""
        row: Record = self.build.row(**self.build.scores(right) | {"seed": 0} | fields)
        return row

    def changed(self, row: Record, rng: np.random.Generator, lost: int, won: int = 0) -> Record:
        """The row after as many of its answers, drawn at random, were lost and won; its outputs differ."""
        n = row["n_test"]
        right = np.unpackbits(np.frombuffer(_bytes(row["correct"]), np.uint8), count=n).astype(bool)
        right[rng.choice(np.flatnonzero(right), lost, replace=False)] = False
        right[rng.choice(np.flatnonzero(~right), won, replace=False)] = True
        return {**row, **self.scored(right), "outputs": f"others {rng.integers(2**60)}"}

    def scored(self, right: Any) -> Record:
        """The fields that bits decide."""
        return {"correct": self.build.bits(right), "test.accuracy": float(np.mean(right)), "n_test": len(right)}


def _bytes(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def cells_of(pair: Pair, rng: np.random.Generator, lines: int, seeds: int, n: int, share: float = 0.9) -> Rows:
    """Rows of an evaluation on one test set, each with answers of its own."""
    rows = []
    for line in range(lines):
        for seed in range(seeds):
            right = rng.random(n) < share
            own = pair.build.row(
                label=f"line {line}", seed=seed, outputs=f"{line} {seed}", peak_memory=10**8, bytes=10**6
            )
            rows.append(own | pair.build.scores(right))
    return rows


def scaled(rows: Rows, **by: float) -> Rows:
    """The rows with these fields, or those that begin so, that many times as large."""

    def factor(name: str) -> float | None:
        return next((times for field, times in by.items() if name.startswith(field)), None)

    return [{k: v if (f := factor(k)) is None or v is None else type(v)(v * f) for k, v in row.items()} for row in rows]
