"""Boards for terminals, and boards read back."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from rich.cells import cell_len

from finefuse import api
from finefuse.cli import printing
from finefuse.errors import StoreError
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.judge.board.saved import saved_board
from finefuse.judge.overall import overall
from finefuse.judge.pairing import pair
from finefuse.records import read_results
from finefuse.types import Record
from finefuse_zoo.reporters.json_board import Json
from helpers.boards import runs

ROOT = Path(__file__).parents[2]
BOARDS = sorted(path.parent for path in ROOT.glob("results/*/leaderboard.json"))
LONG = "x" * 70


def widest(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def hard(build: ModuleType) -> list[Record]:
    """Names, reasons and metrics that fit no terminal."""
    rows: list[Record] = []
    for label in ("full", f"chain(of={LONG}{LONG})", f"chain(of=语言{LONG})", "a\x1b[31m\nb"):
        fields = {"dataset": f"folder(train=/{LONG}/语言)", "backbone": LONG, "metrics": [LONG, "nll", "ece"]}
        scores = {f"{part}.{name}": 0.5 for part in ("test", "val") for name in (LONG, "nll", "ece")}
        better = {f"better.{name}": "higher" for name in (LONG, "nll", "ece")}
        rows += runs(build, label, [0.5, 0.7], **fields, **scores, **better)
    rows += runs(build, "soup", [0.4], "fuse", pool=LONG, needs=[LONG, "val"])
    return [*rows, build.row(label="bad", status="failed", reason=f"{LONG} {LONG}\n{LONG}")]


@pytest.mark.parametrize("folder", BOARDS, ids=lambda path: path.name)
def test_every_board_of_the_repository_fits_120_columns(folder: Path) -> None:
    text = api.board(folder).to_text(120)
    assert widest(text) <= 120
    assert text.count("\n## ") == len(api.board(folder).lines.groupby(["dataset", "backbone"]))


@pytest.mark.parametrize("width", [1, 20, 79, 120, 300])
def test_a_board_with_long_names_fits_any_width(build: ModuleType, width: int) -> None:
    rows = hard(build)
    texts = [make_leaderboard("demo", rows).to_text(width), overall(rows).to_text(width)]
    texts.append(pair(rows, "full", "a\x1b[31m\nb").to_text(width))
    for text in texts:
        assert widest(text) <= max(width, 20)
        assert "\x1b" not in text


def test_nothing_is_lost_where_a_table_is_drawn_in_parts(build: ModuleType) -> None:
    board = make_leaderboard("demo", read_results(ROOT / "baselines" / "quick").rows)
    cells = {word for line in board.to_markdown().split("\n") if line.startswith("| ") for word in line.split("|")}
    words = {word for cell in cells for word in cell.split()}
    assert words - set(board.to_text(80).split()) == set()


def test_a_terminal_gets_lines_and_a_file_gets_markdown(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    board = make_leaderboard("demo", hard(build))
    monkeypatch.setenv("COLUMNS", "100")
    for on_terminal in (True, False):
        stream = StringIO()
        stream.isatty = lambda on_terminal=on_terminal: on_terminal  # type: ignore[method-assign, misc]
        monkeypatch.setattr(printing, "_results", [stream])
        printing.say_board(board)
        assert stream.getvalue() == f"{board.to_text(100) if on_terminal else board.to_markdown()}\n"


def saved(board: Leaderboard, folder: Path) -> Path:
    return Json().write(board, folder)[0]


def test_a_board_is_read_back_as_it_was_written(build: ModuleType, tmp_path: Path) -> None:
    rows = read_results(ROOT / "baselines" / "quick").rows
    rows.append(build.row(label="bad", status="failed", reason="it broke"))
    board = make_leaderboard("quick", rows)
    again = saved_board(saved(board, tmp_path))
    assert again.to_markdown() == board.to_markdown()
    assert again.better == board.better
    pd.testing.assert_frame_equal(again.scores(), board.scores())
    assert api.board(tmp_path).to_markdown() == board.to_markdown()


def test_records_come_before_what_was_written_of_them(tmp_path: Path) -> None:
    saved(make_leaderboard("another", []), tmp_path)
    for name in ("records.jsonl", "plan.json"):
        (tmp_path / name).write_bytes((ROOT / "baselines" / "quick" / name).read_bytes())
    assert api.board(tmp_path).suite == "quick"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not a leaderboard of finefuse"),
        ("{", "not a leaderboard of finefuse"),
        ('{"schema": 1}', "not a leaderboard of finefuse .KeyError: 'lines'."),
        ('{"schema": 9}', "a board of schema 9; this finefuse reads schema 1"),
        ('{"schema": 1, "suite": "a", "lines": [1], "notes": [], "better": {}}', "not a leaderboard of finefuse"),
    ],
)
def test_what_is_no_board_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "leaderboard.json").write_text(text)
    with pytest.raises(StoreError, match=rf"leaderboard\.json: {said}"):
        api.board(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"dataset": None},
        {"label": 1},
        {"label": None},
        {"seconds": "x"},
        {"test.accuracy.mean": []},
        {"front.flops": 1.5},
        {"ok": {}},
        {"metrics": ["unknown"]},
    ],
)
def test_a_line_with_another_kind_of_value_is_refused_by_its_name(
    build: ModuleType, tmp_path: Path, damage: dict[str, object]
) -> None:
    path = saved(make_leaderboard("demo", [build.row()]), tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["lines"][0] |= damage
    path.write_text(json.dumps(content), encoding="utf-8")
    name = "unknown" if "metrics" in damage else re.escape(next(iter(damage)))
    with pytest.raises(StoreError, match=rf"leaderboard\.json: not a leaderboard of finefuse .*{name}"):
        saved_board(path)


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results here"):
        api.board(tmp_path)
    with pytest.raises(StoreError, match="can't be read"):
        saved_board(tmp_path / "leaderboard.json")


def test_an_empty_board_is_read_back(tmp_path: Path) -> None:
    path = saved(make_leaderboard("demo", []), tmp_path)
    assert saved_board(path).to_text() == make_leaderboard("demo", []).to_text()
