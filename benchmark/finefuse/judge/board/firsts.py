"""What a board comes to in a few words: the first lines of each table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from finefuse.judge.board.present import Block, score
from finefuse.types import Bullets, First, line_name

MANY = 20
"""With more tables than these a board begins with the first line of each."""


def first_lines(lines: pd.DataFrame, each: int = 1) -> Iterator[First]:
    """The first lines, `each` so many, of each table that has one with a score; `lines` have short names."""
    for (dataset, backbone), group in lines[lines["ok"] > 0].groupby(["dataset", "backbone"], sort=False):
        for line in group.head(each).to_dict("records"):
            metric = next(iter(line["metrics"]), "")
            yield First(
                str(dataset),
                str(backbone),
                line_name(line["strategy"], line["pool"]),
                metric,
                float(line.get(f"test.{metric}.mean", math.nan)),
                float(line["interval"]),
                float(line["seconds_with_members"]),
                int((group["rank"] == line["rank"]).sum()) - 1,
                len(group) - 1,
                int(line["ok"]),
                int(line["planned"]),
                bool(line["contended"]),
            )


def overview(firsts: Sequence[First]) -> Iterator[Block]:
    """One table of the first lines of all tables, and the sentence before it."""
    yield Bullets((f"First of each of {len(firsts)} tables, and how many of the others share its rank:",))
    columns = {
        "dataset": [first.dataset for first in firsts],
        "backbone": [first.backbone for first in firsts],
        "strategy": [first.name for first in firsts],
        "metric": [first.metric for first in firsts],
        "score": [score(first.score, first.half) for first in firsts],
        "as good": [f"{first.tied} of {first.others}" for first in firsts],
        "runs": [f"{first.ok}/{first.planned}" for first in firsts],
    }
    yield pd.DataFrame(columns, dtype=object)
