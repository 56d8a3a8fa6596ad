"""What tests read off a leaderboard, and rows to make one of."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pandas as pd

from finefuse.judge.board.leaderboard import Leaderboard
from finefuse.types import Record


def line(board: Leaderboard, strategy: str, pool: str = "", **where: str) -> dict[str, Any]:
    """The one line of a strategy."""
    lines = board.lines
    for name, value in {"strategy": strategy, "pool": pool, **where}.items():
        lines = lines[lines[name] == value]
    assert len(lines) == 1
    return {str(name): value for name, value in lines.iloc[0].items()}


def runs(build: ModuleType, label: str, accuracies: list[float], kind: str = "tune", **fields: Any) -> list[Record]:
    """One ok row per seed with these accuracies."""
    return [
        build.row(kind, label, seed=seed, **{"test.accuracy": accuracy} | fields)
        for seed, accuracy in enumerate(accuracies)
    ]


def ranks(board: Leaderboard) -> dict[str, str]:
    """The ranks as drawn, from the top."""
    lines = board.lines
    drawn = ["" if pd.isna(rank) else f"{rank}{'=' if tied else ''}" for rank, tied in lines[["rank", "tied"]].values]
    return dict(zip(lines["strategy"], drawn, strict=True))
