"""The leaderboard as it is drawn: tables, digits, notes and what is told beside them."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from tabulate import tabulate

from finefuse.errors import StoreError
from finefuse.judge.board import present
from finefuse.judge.board.leaderboard import FRONTS, make_leaderboard
from finefuse.types import TEXT_COLUMNS, Board, Record
from helpers.boards import line, runs


def quick(build: ModuleType) -> list[Record]:
    """The shape of the quick suite: 5 schemes and 6 fusions of 2 pools, 2 backbones, 3 seeds."""
    rng = random.Random(0)
    schemes = ["full", "linear-probe", "head-sgd", "gradual-unfreeze", "lp-ft"]
    fusions = ["vote", "mean-probs", "weighted", "stacking", "soup", "greedy-soup"]
    spots = [("tune", label, "") for label in schemes]
    spots += [("fuse", label, pool) for label in fusions for pool in ("same-scheme", "schemes")]
    return [
        build.row(kind, label, pool=pool, seed=seed, backbone=net, **({} if kind == "time" else
                  {"test.accuracy": rng.random(), "seconds": rng.random() * 10}))
        for kind_of, label, pool in spots for kind in (kind_of, "time")
        for seed in range(3) for net in ("cnn-s", "vit-t")
    ]  # fmt: skip


def test_the_quick_board_fits_a_terminal(build: ModuleType) -> None:
    text = make_leaderboard("quick", quick(build)).to_markdown()
    tables = [text_line for text_line in text.splitlines() if text_line.startswith("|")]
    assert len(tables) == 2 * 2 * (2 + 17)
    assert max(map(len, tables)) <= 150
    assert len({len(text_line) for text_line in tables}) <= 4


def test_scores_have_the_same_bits_whatever_the_order_and_the_clock(build: ModuleType) -> None:
    rows = quick(build)
    again = [row | {"seconds": 99.0, "machine": "other", "contended": True, "latency.1.p50": 1.0} for row in rows]
    random.Random(1).shuffle(again)
    scores, others = (make_leaderboard("quick", each).scores().to_csv() for each in (rows, again))
    assert scores == others
    assert not {"seconds", "latency.1.p50", "contended", "reason"} & {*make_leaderboard("quick", rows).scores()}


def test_costs_are_apart(build: ModuleType) -> None:
    board = make_leaderboard("quick", quick(build))
    assert {*board.scores()} & {*board.costs()} == {"dataset", "backbone", "strategy", "pool"}
    assert {*board.scores(), *board.costs()} - {"metric"} == {*board.lines} - {
        "metrics",
        "reason",
        "label",
        "round",
        "rounds",
        "rank.lowest",
        "interval",
        *FRONTS,
    }


def test_it_is_what_a_reporter_gets(build: ModuleType) -> None:
    board: Board = make_leaderboard("quick", quick(build))
    assert board.suite == "quick"


def test_machines_are_named(build: ModuleType) -> None:
    one = make_leaderboard("demo", runs(build, "full", [0.9, 0.9]))
    two = make_leaderboard("demo", [build.row(), build.row(seed=1, machine="m2")])
    assert one.notes[-1] == "Machine: m1."
    assert two.notes[-1] == "Machines: m1, m2; their seconds can't be compared."


def test_hostile_text_breaks_no_table(build: ModuleType) -> None:
    reason = "a | b\n<script>alert(1)</script> \udc80 \x1b[31m"
    rows = [build.row(label="<b>|x"), build.row(label="bad", status="failed", reason=reason)]
    board = make_leaderboard("de\nmo", rows)
    text, html = board.to_markdown(), board._repr_html_()
    assert text.startswith("# de mo\n")
    assert "<b>\\|x" in text
    assert "\\udc80 \\x1b[31m" in text
    text.encode()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>|x" not in html
    assert board._repr_markdown_() == text


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"seconds": 0.0, "flops": 999}, [" 0 |", " 999 |"]),
        ({"seconds": 0.012345, "flops": 1_000}, ["0.0123 |", "1.00k |"]),
        ({"seconds": 1234.5, "flops": 25_600_000}, ["1230 |", "25.6M |"]),
        ({"seconds": 9.999, "flops": 4.1e9}, ["10.0 |", "4.10G |"]),
        ({"seconds": 12.34, "flops": 2.5e12}, ["12.3 |", "2.50T |"]),
    ],
)
def test_numbers_have_three_digits(build: ModuleType, fields: dict[str, float], texts: list[str]) -> None:
    text = make_leaderboard("demo", [build.row(**fields)]).to_markdown()
    for expected in texts:
        assert expected in text


def test_large_scores_are_short(build: ModuleType) -> None:
    text = make_leaderboard("demo", runs(build, "full", [123456.789, 123456.789])).to_markdown()
    assert "1.2346e+05 |" in text


def test_costs_that_no_line_has_are_left_out(build: ModuleType) -> None:
    text = make_leaderboard("demo", [build.row(flops=None)]).to_markdown()
    assert "FLOPs" not in text
    assert "trainable" in text


def test_every_field_and_column_is_documented(build: ModuleType) -> None:
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    board = make_leaderboard("demo", quick(build))
    fields = {field for row in [*quick(build), build.row(status="failed")] for field in row}
    for name in fields | {*board.lines, *board.scores(), *board.costs()}:
        general = re.sub(r"\b(accuracy|nll)\b", "<metric>", re.sub(r"\.\d+\.", ".<batch>.", str(name)))
        assert f"`{general}`" in text, general


def test_a_metric_with_a_pipe_breaks_no_table(build: ModuleType) -> None:
    fields = {"metrics": ["a|b"], "test.a|b": 0.5, "better.a|b": "higher"}
    assert "a\\|b ↑ |" in make_leaderboard("demo", [build.row(**fields)]).to_markdown()


def test_a_search_shows_default_beside_tuned_and_warns_of_edges(build: ModuleType) -> None:
    found = {"trials": 8, "default.test.accuracy": 0.7}
    searched = [
        build.row(label="tuned", seed=s, **found, at_edge=["lr"] * (s == 1), **{"test.accuracy": 0.9}) for s in (0, 1)
    ]
    board = make_leaderboard("demo", [*searched, *runs(build, "full", [0.8, 0.8])])
    assert list(board.lines["trials"]) == [8, 0]
    assert list(board.scores()["edge"]) == ["lr", ""]
    assert board.lines["default.accuracy.mean"][0] == 0.7
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in board.to_markdown().splitlines() if "|" in line
    ]
    assert table[0][-3:] == ["default", "trials", "runs"]
    assert table[2][-3:] == ["0.7000", "8", "2/2"]
    assert table[3][-3:] == ["", "", "2/2"]
    assert any("tuned on cnn-s (lr)" in note and "edge of its range" in note for note in board.notes)


def test_without_a_search_there_are_no_columns_for_one(build: ModuleType) -> None:
    board = make_leaderboard("demo", runs(build, "full", [0.8, 0.8]))
    assert "trials" not in board.to_markdown()
    assert not any(name.startswith("default.") for name in board.lines)


def test_last_best_and_peek_stand_side_by_side_and_peek_never_ranks(build: ModuleType) -> None:
    one = [
        build.row(label="a", seed=s, **{"test.accuracy": 0.8, "best.test.accuracy": 0.81, "peek.test.accuracy": 0.99})
        for s in (0, 1)
    ]
    board = make_leaderboard("demo", [*one, *runs(build, "b", [0.9, 0.9])])
    assert list(board.lines["strategy"]) == ["b", "a"]
    header, _, first, second = [
        [c.strip() for c in line.split("|")[1:-1]] for line in board.to_markdown().splitlines() if "|" in line
    ][:4]
    assert header[-3:] == ["best-val", "peek", "runs"]
    assert first[-3:] == ["", "", "2/2"]
    assert second[-3:] == ["0.8100", "0.9900", "2/2"]
    assert any("never ranks" in note for note in board.notes)


def test_figures_are_told_beside_the_scores(build: ModuleType) -> None:
    rows = [build.row(label="logme", seed=seed, **{"figure.logme": value}) for seed, value in enumerate((0.25, 0.75))]
    rows += [build.row(label="ranking(T=2)", seed=0, **{"figure.leep": -1.5}), build.row(label="ranking(T=2)", seed=1)]
    board = make_leaderboard("demo", [*rows, *runs(build, "full", [0.8, 0.8])])
    assert line(board, "logme")["figure.logme"] == 0.5
    assert math.isnan(line(board, "full")["figure.logme"])
    assert {"figure.leep", "figure.logme"} <= {*board.scores()}
    assert not {"figure.leep", "figure.logme"} & {*board.costs()}
    told = "Figures reported, means over seeds: leep -1.5000 (ranking); logme 0.5000"
    assert f"\n- {told}\n" in board.to_markdown()
    assert f"<li>{told}</li>" in board._repr_html_()


def test_each_backbone_has_its_own_figures(build: ModuleType) -> None:
    rows = [
        build.row(label="logme", backbone=net, **{"figure.logme": value}) for net, value in (("a", 1.0), ("b", 2.0))
    ]
    text = make_leaderboard("demo", rows).to_markdown()
    assert text.index("## digits · a") < text.index("logme 1.0000") < text.index("## digits · b")
    assert text.index("## digits · b") < text.index("logme 2.0000")


def test_without_figures_nothing_is_said_of_them(build: ModuleType) -> None:
    board = make_leaderboard(
        "demo", [*runs(build, "full", [0.8, 0.8]), build.row(label="nan", **{"figure.x": math.nan})]
    )
    assert "Figures" not in board.to_markdown()


def test_a_figure_that_is_no_number_is_refused(build: ModuleType) -> None:
    with pytest.raises(StoreError, match=r"a number as figure\.logme, not 'high'"):
        make_leaderboard("demo", [build.row(**{"figure.logme": "high"})])


@pytest.mark.parametrize(
    "table",
    [
        {"rank": ["1", "2="], "strategy": ["a|b", "  c \n d "], "a long heading": ["", "0.1"], "x": ["1", "23.5"]},
        {"strategy": ["é", "\x1b[1mx"], "a|b": ["", "1 | 2 | 3"]},
    ],
)
def test_pipe_tables_are_what_tabulate_writes(table: dict[str, list[str]]) -> None:
    cells = {present.escaped_cell(name): list(map(present.escaped_cell, column)) for name, column in table.items()}
    align = ["left" if name in TEXT_COLUMNS else "right" for name in table]
    expected = tabulate(
        list(zip(*cells.values(), strict=True)), [*cells], "pipe", disable_numparse=True, colalign=align
    )
    assert present.draw(pd.DataFrame(table), "markdown") == expected


@pytest.mark.parametrize("tables", [20, 21])
def test_a_board_of_many_tables_begins_with_the_first_line_of_each(build: ModuleType, tables: int) -> None:
    rows = [
        row
        for number in range(tables)
        for label, accuracy in {"good": 0.9, "same": 0.9, "bad": 0.1}.items()
        for row in runs(build, label, [accuracy, accuracy + 0.01, accuracy - 0.01], dataset=f"data{number:02}")
    ]
    board = make_leaderboard("wide", rows)
    text = board.to_markdown()
    told = re.findall(r"^\| (data\d\d) .*\| (\w+) +\| accuracy +\| (0.9000 ± \S+) \| +(\d of \d) \| 3/3", text, re.M)
    assert len(told) == (tables if tables > 20 else 0)
    assert ("First of each of 21 tables" in text) == (tables > 20)
    assert {first for _, first, _, _ in told} <= {"good", "same"}
    assert {tied for *_, tied in told} <= {"1 of 2"}
    assert max(map(len, board.to_text(120).splitlines())) <= 120
