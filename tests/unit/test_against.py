"""One's own rows among released ones."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from finefuse import api
from finefuse.errors import StoreError
from finefuse.judge.against import against
from finefuse.records import Records, read_results
from finefuse.types import Cell, Record
from helpers.boards import line, runs
from helpers.calling import call

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "baselines" / "quick"
CORE = {"core": "3"}


def folder(path: Path, rows: list[Record]) -> Path:
    records = Records(path)
    for row in rows:
        records.append(row | {"parts": CORE | row["parts"]})
    records.write_plan("demo", [(Cell.of(row), row["key"]) for row in rows])
    return path


def released(build: ModuleType, path: Path) -> Path:
    rows = (
        runs(build, "full", [0.5, 0.6]) + runs(build, "l2", [0.7, 0.8]) + runs(build, "x", [0.7, 0.8], dataset="wine")
    )
    return folder(path, [*rows, build.row("time", "full", seed=0)])


def test_own_lines_stand_marked_among_released_ones_without_their_costs(build: ModuleType, tmp_path: Path) -> None:
    rows = [row | {"machine": "m2"} for row in runs(build, "new", [0.9, 0.95]) + runs(build, "full", [0.55, 0.65])]
    mine = folder(tmp_path / "mine", [row | {"key": f"own {row['key']}"} for row in rows])
    board = against(mine, released(build, tmp_path / "released"))
    assert set(board.lines["strategy"]) == {"new (mine)", "full (mine)", "full", "l2"}
    assert set(board.lines["dataset"]) == {"digits"}
    assert line(board, "new (mine)")["rank"] == 1
    assert line(board, "new (mine)")["seconds"] == 1.5
    assert str(line(board, "l2")["seconds"]) == "nan"
    assert line(board, "l2")["parameters"] == 77_000
    assert not any(name.startswith("latency.") for name in map(str, board.lines))
    assert f"Lines marked (mine) are from {mine}, measured on m2; all others are from" in board.notes[0]
    assert board.notes[1].startswith("Seconds, memory and latency of the released lines are left out")


def test_costs_of_the_same_machine_stay(build: ModuleType, tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", runs(build, "new", [0.9, 0.95]))
    board = against(mine, released(build, tmp_path / "released"))
    assert line(board, "l2")["seconds"] == 1.5
    assert not any("left out" in note for note in board.notes)
    unnamed = [
        folder(tmp_path / name, [row | {"machine": None} for row in runs(build, label, [0.9, 0.95])])
        for name, label in (("one", "new"), ("other", "l2"))
    ]
    assert any("left out" in note for note in against(*unnamed).notes)
    older = folder(tmp_path / "older", runs(build, "new", [0.9, 0.95], costs=7))
    assert any("left out" in note for note in against(older, tmp_path / "released").notes)


def test_rows_that_are_the_released_ones_stand_once(build: ModuleType, tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", runs(build, "full", [0.5, 0.6]) + runs(build, "l2", [0.7, 0.1]))
    board = against(mine, released(build, tmp_path / "released"))
    assert sorted(board.lines["strategy"]) == ["full", "l2", "l2 (mine)"]
    assert "Your rows of full are the released ones, bit by bit, and stand there once." in board.notes
    assert any(note.startswith("1 rows have the key of a released one and other results") for note in board.notes)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dataset": "sings"}, "has no lines for sings · cnn-s, nor for others"),
        ({"parts": {"core": "2"}}, "mine has results of version 2, .*released of 3; they can't be compared"),
        ({"examples": "other"}, "have other test examples for digits, seed 0"),
        ({"metrics": ["nll"]}, "have other metrics for digits, seed 0"),
    ],
)
def test_what_can_not_be_compared_is_refused(build: ModuleType, tmp_path: Path, changed: Record, said: str) -> None:
    mine = folder(tmp_path / "mine", [build.row(label="new", examples="a", key="k") | changed])
    rows = runs(build, "full", [0.5, 0.6], examples="a")
    with pytest.raises(StoreError, match=said):
        against(mine, folder(tmp_path / "released", rows))


def test_a_whole_run_against_itself_has_no_own_lines_and_a_part_of_it_is_found(tmp_path: Path) -> None:
    board = api.against(RELEASED, RELEASED)
    assert not any("(mine)" in strategy for strategy in board.lines["strategy"])
    assert len(board.lines) == len(api.board(RELEASED).lines)
    other = [row | {"key": f"own {row['key']}", "machine": "m2"} for row in read_results(RELEASED).rows]
    board = against(folder(tmp_path, other), RELEASED)
    assert len(board.lines) == 2 * len(api.board(RELEASED).lines)
    assert line(board, "soup (mine)", "schemes (mine)", backbone="cnn-s")["gain"] == pytest.approx(
        line(board, "soup", "schemes", backbone="cnn-s")["gain"]
    )


def test_the_option(build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, board = folder(tmp_path / "mine", runs(build, "new", [0.9, 0.95])), released(build, tmp_path / "released")
    before = sorted(tmp_path.rglob("*"))
    done = call(capsys, "report", mine, "--against", board)
    assert done.code == 0
    assert "| new (mine) " in done.out
    assert sorted(tmp_path.rglob("*")) == before
    lost = call(capsys, "report", mine, "--against", tmp_path / "none")
    assert lost.code == 2
    assert "no results here" in lost.err
