"""What a board comes to in a few words: the first lines of each table."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from finefuse.types import First, line_name


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
