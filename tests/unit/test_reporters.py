from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from finefuse.errors import StoreError
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.types import Cell, Record, Reporter
from finefuse_zoo.reporters.html_page import Page
from finefuse_zoo.reporters.json_board import Json
from finefuse_zoo.reporters.markdown_board import Markdown
from finefuse_zoo.reporters.tables import Csv

REPORTERS = [Markdown(), Csv(), Json(), Page()]


def rows(build: ModuleType) -> list[Record]:
    rng = random.Random(0)
    return [
        *(build.row(seed=seed, **{"test.accuracy": rng.random()}) for seed in range(3)),
        *(build.row("time", seed=seed) for seed in range(3)),
        *(build.row("fuse", "vote", pool="p", seed=seed, contended=True) for seed in range(2)),
        build.row("fuse", "vote", pool="p", seed=2, status="failed", reason="a, b\n\udc80 é", error="Oops"),
        build.row(label="bad", **{"test.accuracy": math.nan, "test.nll": math.inf, "flops": None}),
        build.row("fuse", "soup", pool="p", status="skipped", reason="no ancestor", error=None),
        build.row(dataset="wine", **{"metrics": ["mse"], "better.mse": "lower", "test.mse": 1 / 3}),
    ]


@pytest.fixture
def board(build: ModuleType) -> Leaderboard:
    return make_leaderboard("demo", rows(build), [Cell("tune", "digits", "cnn-s", "lp-ft", "", 0, 0, 0, 0)])


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("reporter", REPORTERS, ids=lambda reporter: type(reporter).__name__)
def test_what_is_written_is_named(board: Leaderboard, tmp_path: Path, reporter: Reporter) -> None:
    paths = reporter.write(board, tmp_path)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert all(path.read_text(encoding="utf-8").endswith("\n") for path in paths)
    before = [path.read_bytes() for path in paths]
    assert reporter.write(board, tmp_path) == paths
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("reporter", REPORTERS, ids=lambda reporter: type(reporter).__name__)
def test_an_empty_board_and_a_bad_folder(tmp_path: Path, reporter: Reporter) -> None:
    empty = make_leaderboard("demo", [])
    assert reporter.write(empty, tmp_path)
    with pytest.raises(StoreError, match="can't be written: No such file or directory"):
        reporter.write(empty, tmp_path / "none")


def test_markdown_is_what_is_printed(board: Leaderboard, tmp_path: Path) -> None:
    (path,) = Markdown().write(board, tmp_path)
    assert path.name == "leaderboard.md"
    assert path.read_text(encoding="utf-8") == board.to_markdown() + "\n"


def test_csv_has_all_digits(board: Leaderboard, tmp_path: Path) -> None:
    scores, costs = Csv().write(board, tmp_path)
    assert (scores.name, costs.name) == ("scores.csv", "costs.csv")
    assert [float(row["test.mse.mean"]) for row in table(scores) if row["dataset"] == "wine"] == [1 / 3]
    for path, frame in ((scores, board.scores()), (costs, board.costs())):
        read = table(path)
        assert len(read) == len(frame) == len(board.lines)
        for name in frame:
            texts = ["nan" if pd.isna(value) else str(value) for value in frame[name]]
            assert [row[str(name)] for row in read] == [text.replace("\udc80", "\\udc80") for text in texts]


def test_scores_are_the_same_bytes_for_the_same_results(build: ModuleType, tmp_path: Path) -> None:
    first, again = rows(build), [row | {"seconds": 77.0, "machine": "other"} for row in rows(build)]
    random.Random(2).shuffle(again)
    written = []
    for name, records in (("a", first), ("b", again)):
        (tmp_path / name).mkdir()
        written.append([path.read_bytes() for path in Csv().write(make_leaderboard("demo", records), tmp_path / name)])
    assert written[0][0] == written[1][0]
    assert written[0][1] != written[1][1]
    assert b"\r" not in written[0][0]


def test_json_is_strict_and_says_why_there_is_no_number(board: Leaderboard, tmp_path: Path) -> None:
    (path,) = Json().write(board, tmp_path)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert (content["schema"], content["suite"], content["notes"]) == (1, "demo", list(board.notes))
    assert content["better"] == {"accuracy": "higher", "nll": "lower", "mse": "lower"}
    lines = {(line["dataset"], line["strategy"]): line for line in content["lines"]}
    assert len(lines) == len(board.lines) == 6
    for line in lines.values():
        assert {name for name, value in line.items() if value is None} == set(line["null"])
    full, bad = lines["digits", "full"], lines["digits", "bad"]
    assert full["test.accuracy.mean"] in list(board.lines["test.accuracy.mean"])
    assert (full["rank"], full["ok"], full["tied"], full["metrics"]) == (1, 3, True, ["accuracy", "nll"])
    assert full["null"] == {
        "test.mse.mean": "not a metric of this data set",
        "test.mse.half": "not a metric of this data set",
        "gain": "nothing to compare with",
        "gain.half": "no interval",
        **dict.fromkeys(("memory", "memory_with_members", "bytes", "energy.processors", "energy.gpu"), "not measured"),
    }
    assert bad["null"]["test.accuracy.mean"] == "not a number"
    assert bad["null"]["test.nll.mean"] == "infinite"
    assert bad["null"]["test.nll.half"] == "one seed has no interval"
    assert bad["null"]["flops"] == bad["null"]["latency.1.p50"] == "not measured"
    assert set(lines["digits", "soup"]["null"].values()) == {"no run is ok"}
    assert lines["digits", "lp-ft"]["reason"] == "missing: planned, but not run yet"
    assert lines["digits", "vote"]["reason"] == "failed: Oops: a, b\n\udc80 é"


def test_json_says_where_no_figure_was_reported(build: ModuleType, tmp_path: Path) -> None:
    rows = [build.row(), build.row(label="logme", **{"figure.logme": 1.5})]
    (path,) = Json().write(make_leaderboard("demo", rows), tmp_path)
    lines = {line["strategy"]: line for line in json.loads(path.read_text())["lines"]}
    assert lines["logme"]["figure.logme"] == 1.5
    assert lines["full"]["null"]["figure.logme"] == "not reported"
