"""Results too large to be held: the same board from rows that stay in their file, one data set at a time in memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

import pytest

from finefuse import located, records
from finefuse.errors import StoreError
from finefuse.jsonl import load
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.located import Stored
from finefuse.records import Records, Results, read_results
from finefuse.types import Cell, Record

DATA, SEEDS, LABELS = ("b", "a", "c"), (0, 1, 2), ("full", "lp", "l2")


def rows(build: ModuleType) -> list[Record]:
    """Three data sets with a pool each; notes differ, one row failed, and the last data set has a newer protocol."""
    made: list[Record] = []
    for d, dataset in enumerate(DATA):
        more: Record = {"dataset": dataset, "remarks": [f"{dataset} is small", "all is small"], "costs": 1 + (d == 2)}
        for s in SEEDS:
            for i, label in enumerate(LABELS):
                right = build.first_right(60 + 7 * i + d + s)
                made.append(build.row(label=label, seed=s, **more, **build.scores(right), machine=f"m{s}", repeated=d))
            made.append(build.row("fuse", "soup", pool="p", seed=s, **more, **build.scores(build.first_right(80 + s))))
            bounds = {f"{bound}.test.{m}": 0.5 for bound in ("single", "mean", "oracle") for m in ("accuracy", "nll")}
            made.append(build.row("pool", "", pool="p", seed=s, dataset=dataset, **bounds))
        made.append(build.row("time", "full", dataset=dataset))
    made[3] = build.row(label="broken", dataset="b", status="failed")
    return made


def both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Results, Results]:
    """The results held in memory, and those that stay in their file."""
    held = read_results(folder)
    monkeypatch.setattr(records, "LARGE", 0)
    kept = read_results(folder)
    assert isinstance(held.rows, list)
    assert isinstance(kept.rows, Stored)
    return held, kept


def board(found: Results) -> Leaderboard:
    return make_leaderboard(found.suite, found.rows, found.missing, found.refused)


@pytest.mark.parametrize("planned", [False, True])
def test_the_board_is_the_same(
    tmp_path: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch, *, planned: bool
) -> None:
    lost = [Cell("tune", name, "cnn-s", "gone", "", 0, 0, 0, 0) for name in ("a", "d")]
    build.write(tmp_path, rows(build), lost if planned else None)
    held, kept = both(tmp_path, monkeypatch)
    assert list(kept.rows) == held.rows
    assert kept.rows[1:3] == held.rows[1:3]
    assert kept.rows[-1] == held.rows[-1]
    assert (kept.suite, kept.missing, kept.refused) == (held.suite, held.missing, held.refused)
    one, other = board(held), board(kept)
    assert one.to_markdown() == other.to_markdown()
    assert json.dumps(one.document()) == json.dumps(other.document())
    assert one.scores().to_csv() == other.scores().to_csv()
    assert len(one.records) == len(other.records) == len(list(other.records))
    assert any("older protocol" in note for note in other.notes)


def test_no_more_rows_are_held_than_of_one_data_set(
    tmp_path: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Row(dict[str, Any]):
        """An object that can be seen to be gone."""

    alive: WeakSet[Row] = WeakSet()
    most = 0

    def watched(line: bytes) -> Row:
        nonlocal most
        row = Row(load(line))
        alive.add(row)
        most = max(most, len(alive))
        return row

    Row.__hash__ = object.__hash__  # type: ignore[method-assign, assignment]
    build.write(tmp_path, rows(build))
    monkeypatch.setattr(records, "LARGE", 0)
    monkeypatch.setattr(located, "load", watched)
    found = read_results(tmp_path)
    assert most <= 2
    largest = max(sum(row["dataset"] == name for row in found.rows) for name in DATA)
    made = board(found)
    assert made.to_markdown()
    assert 2 < most <= largest + 1 < len(found.rows)


def test_pools_across_data_sets_are_held_at_once(
    tmp_path: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossing = build.row("fuse", "soup", pool="p", dataset="a + b", tasks=["a"], ranked_by=["accuracy"])
    build.write(tmp_path, [*rows(build), crossing])
    _, kept = both(tmp_path, monkeypatch)
    assert isinstance(kept.rows, Stored)
    assert kept.rows.crossing


def test_damaged_lines_are_refused_with_their_numbers(
    tmp_path: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a former version that contradicts its bits is told from all others; the one before it counts."""
    good = rows(build)
    wrong = good[0] | {"test.accuracy": 0.123}
    build.write(tmp_path, [*good, wrong, good[1] | {"seconds": -1}], [Cell.of(row) for row in good])
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"torn": ')
    held, kept = both(tmp_path, monkeypatch)
    assert kept.refused == held.refused
    assert len(kept.refused) == 2
    assert kept.refused[0].startswith(f"{tmp_path / 'records.jsonl'}:{len(good) + 1}: {good[0]['cell']} has 0.123 as")
    assert list(kept.rows) == held.rows
    (tmp_path / "plan.json").unlink()
    with pytest.raises(StoreError, match=r"has 0\.123 as `test\.accuracy`"):
        read_results(tmp_path)


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "records.jsonl").write_text('{"torn": ')
    monkeypatch.setattr(records, "LARGE", 0)
    assert Records(tmp_path).is_large()
    with pytest.raises(StoreError, match="no results here"):
        read_results(tmp_path)
