"""Reporters that write on request: figures, LaTeX, a summary with a badge."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from finefuse import api
from finefuse.discovery.registry import Registry
from finefuse.errors import StoreError
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.judge.board.saved import saved_board
from finefuse.judge.overall import overall
from finefuse.types import Entry, Record
from finefuse_zoo.reporters.figures import Figures
from finefuse_zoo.reporters.json_board import Json
from finefuse_zoo.reporters.latex import Latex, escaped
from finefuse_zoo.reporters.summary import Summary
from helpers.boards import runs

pytest.importorskip("altair")
pytest.importorskip("vl_convert")
from finefuse_zoo.reporters import _charts

ROOT = Path(__file__).parents[2]


def rows(build: ModuleType) -> list[Record]:
    """Three data sets, two backbones, a scheme and fusions, one in rounds."""
    generator = np.random.default_rng(0)
    found: list[Record] = []
    for dataset, backbone in product(("digits", "signs", "wine"), ("cnn-s", "vit-t")):
        where = {"dataset": dataset, "backbone": backbone}
        for label in ("full", "l2(by=1)", "probe"):
            scores = generator.uniform(0.5, 0.9, 3).tolist()
            found += runs(build, label, scores, **where, seconds=float(generator.uniform(1, 9)))
        for number in range(3):
            found += runs(build, "soup", [0.6 + number / 10] * 3, "fuse", pool="p", round=number, **where)
    return found


@pytest.fixture(scope="module")
def board(build: ModuleType) -> Leaderboard:
    return make_leaderboard("demo", rows(build))


def test_there_is_a_figure_for_all_that_there_is_something_for(board: Leaderboard) -> None:
    names = ["pareto digits", "pareto signs", "pareto wine", "critical differences"]
    names += [
        f"rounds {dataset} {backbone}" for dataset in ("digits", "signs", "wine") for backbone in ("cnn-s", "vit-t")
    ]
    assert [name for name, _ in Figures().charts(board)] == names


def test_costs_of_several_machines_have_no_figure_but_flops_have(build: ModuleType) -> None:
    several = [row | {"machine": "m2"} if row["dataset"] == "signs" and row["seed"] else row for row in rows(build)]
    board = make_leaderboard("demo", several)
    drawn = {cost: [name for name, _ in Figures(cost=cost).charts(board)] for cost in ("seconds", "flops")}  # type: ignore[arg-type]
    assert [name for name in drawn["seconds"] if name.startswith("pareto")] == ["pareto digits", "pareto wine"]
    assert "pareto signs" in drawn["flops"]


def test_figures_are_drawn_as_svg_and_png(build: ModuleType, tmp_path: Path) -> None:
    few = [row for row in rows(build) if (row["dataset"], row["backbone"]) == ("digits", "cnn-s")]
    written = Figures().write(make_leaderboard("demo", few), tmp_path)
    assert sorted(written) == sorted((tmp_path / "figures").iterdir())
    stems = ["pareto-digits", "rounds-digits-cnn-s"]
    assert [path.name for path in written] == [f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")]
    for svg, png in zip(written[::2], written[1::2], strict=True):
        assert ET.fromstring(svg.read_text(encoding="utf-8")).tag == "{http://www.w3.org/2000/svg}svg"
        assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    text = (tmp_path / "figures" / "pareto-digits.svg").read_text(encoding="utf-8")
    assert "demo: digits" in text
    assert "seconds of training, with those of the members" in text
    assert "by=1" not in text


def chart(board: Leaderboard, name: str, **how: str) -> dict[str, pd.DataFrame]:
    """The tables behind a figure."""
    spec = dict(Figures(**how).charts(board))[name].to_dict()  # type: ignore[arg-type]
    return {key: pd.DataFrame(values) for key, values in spec["datasets"].items()}


@pytest.mark.parametrize(("cost", "column"), [("seconds", "seconds_with_members"), ("flops", "flops")])
def test_a_figure_has_every_line_with_its_score_and_cost(board: Leaderboard, cost: str, column: str) -> None:
    (points,) = chart(board, "pareto digits", cost=cost).values()
    lines = board.lines[board.lines["dataset"] == "digits"]
    assert sorted(points["score"]) == sorted(lines["test.accuracy.mean"])
    assert sorted(points["cost"]) == sorted(lines[column])
    halves = lines["interval"].where(np.isfinite(lines["interval"]), 0.0)
    np.testing.assert_allclose(sorted(points["high"] - points["score"]), sorted(halves), atol=1e-12)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_beats_in_both(seed: int, lower: bool) -> None:
    generator = np.random.default_rng(seed)
    lines = pd.DataFrame(generator.integers(0, 6, (12, 2)).astype(float), columns=["cost", "score"])
    found = _charts.front(lines, "cost", lower=lower)
    sign = 1 if lower else -1
    for at, cost, score in lines.itertuples():
        as_good = (lines["cost"] <= cost) & (sign * lines["score"] <= sign * score)
        beaten = (as_good & ((lines["cost"] < cost) | (lines["score"] != score))).any()
        assert found[at] == (not beaten)


def test_average_ranks_are_those_of_the_report_over_all(build: ModuleType, board: Leaderboard) -> None:
    whole = overall(rows(build))
    lines = board.lines
    ranks, data_sets = _charts.average_ranks(_charts.ranked(lines, board.better))
    assert data_sets == 3
    found = {(row.backbone, row.strategy, row.pool): row.rank for row in whole.ranks.itertuples()}
    assert {(backbone, strategy, pool): rank for (strategy, pool, backbone), rank in ranks.items()} == pytest.approx(
        found
    )
    assert _charts.critical(len(ranks), 3) == pytest.approx(whole.critical, rel=1e-3)


def test_critical_differences_need_two_data_sets_and_leave_out_what_is_not_on_all(build: ModuleType) -> None:
    one = make_leaderboard("demo", [row for row in rows(build) if row["dataset"] == "digits"])
    assert "critical differences" not in dict(Figures().charts(one))
    more = make_leaderboard("demo", [*rows(build), *runs(build, "alone", [0.9], dataset="wine")])
    (points,) = (t for t in chart(more, "critical differences").values())
    assert not any("alone" in name for name in points["entrant"])


def test_parts_of_pools_have_a_curve(build: ModuleType, tmp_path: Path) -> None:
    found: list[Record] = []
    for draw, size, score in ((0, 2, 0.5), (1, 2, 0.7), (0, 3, 0.8)):
        found += runs(build, "soup(by=1)", [score] * 2, "fuse", pool="p", size=size, draw=draw)
    found += runs(build, "soup(by=1)", [0.9] * 2, "fuse", pool="p", members=4)
    board = make_leaderboard("demo", found)
    (points,) = chart(board, "sizes digits cnn-s p").values()
    told = [(2, 0.6), (3, 0.8), (4, 0.9)]
    assert sorted(zip(points["at"], points["score"].round(9), strict=True)) == told
    assert set(points["line"]) == {"soup"}
    again = saved_board(Json().write(board, tmp_path)[0])
    pd.testing.assert_frame_equal(again.curves, board.curves)


def test_nothing_to_draw_is_nothing_written(build: ModuleType, tmp_path: Path) -> None:
    failed = make_leaderboard("demo", [build.row(status="failed")])
    for empty in (failed, make_leaderboard("demo", [])):
        assert Figures().write(empty, tmp_path) == []


def test_names_of_files_hold_no_path_and_a_clash_is_told(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_charts, "images", lambda chart: ("", b""))
    found = make_leaderboard("demo", runs(build, "full", [0.5, 0.6], dataset="../../a b"))
    assert [path.name for path in Figures().write(found, tmp_path)] == ["pareto-..-..-a-b.svg", "pareto-..-..-a-b.png"]
    both = [*runs(build, "full", [0.5], dataset="a b"), *runs(build, "full", [0.5], dataset="a?b")]
    with pytest.raises(StoreError, match="two figures would have this name"):
        Figures().write(make_leaderboard("demo", both), tmp_path)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("50 % & a_b #1 {x} $", r"50 \% \& a\_b \#1 \{x\} \$"),
        ("a\\b~c^d", r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d"),
        ("-0.5 ± 0.1, full-l2, 1-4 ↑", r"$-$0.5 $\pm$ 0.1, full-l2, 1-4 $\uparrow$"),
        ("a\n b", "a b"),
        ("[2cm] a", "{}[2cm] a"),
        ("*", "{}*"),
    ],
)
def test_latex_takes_nothing_for_a_command(text: str, tex: str) -> None:
    assert escaped(text) == tex


def test_latex_has_every_table_with_as_many_cells_in_each_row(board: Leaderboard, tmp_path: Path) -> None:
    (path,) = Latex(notes=True).write(board, tmp_path)
    text = path.read_text(encoding="utf-8")
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    assert len(tables) == 2 * 6  # scores and costs
    for columns, body in tables:
        lines = [line for line in body.split("\n") if line and line != r"\midrule"]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
        assert all(line.endswith(r" \\") for line in lines)
    for name in ("table", "tabular", "itemize"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
    assert r"\caption{digits $\cdot$ cnn-s}" in text
    assert "itemize" not in Latex().write(board, tmp_path)[0].read_text(encoding="utf-8")


def test_a_summary_has_the_best_line_of_each_table_and_a_badge(board: Leaderboard, tmp_path: Path) -> None:
    paths = Summary(rows=4).write(board, tmp_path)
    assert [path.name for path in paths] == ["summary.md", "badge.svg", "badge.json"]
    lines = paths[0].read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 1 + 4
    assert "and 2 more tables." in lines
    first = board.with_short_names(board.lines).iloc[0]
    assert f"| {first['dataset']} | {first['backbone']} |" in lines[4]
    assert f"{first['test.accuracy.mean']:.4f}" in lines[4]
    assert "~" not in "".join(lines)
    marked = Summary().write(replace(board, lines=board.lines.assign(contended=True)), tmp_path)[0].read_text()
    assert f"| ~{first['seconds_with_members']:.3g} |" in marked
    assert "~ marks seconds taken beside other work." in marked
    badge = json.loads(paths[2].read_text())
    assert badge["schemaVersion"] == 1
    assert {"label", "message"} <= set(badge)
    assert ET.fromstring(paths[1].read_text()).get("aria-label") == f"{badge['label']}: {badge['message']}"


def test_hostile_names_stay_text(build: ModuleType, tmp_path: Path) -> None:
    hostile = 'a|b</text><script>x</script>&\x1b[31m"'
    board = make_leaderboard(hostile, runs(build, hostile, [0.5, 0.6], dataset=hostile, backbone=hostile))
    svg = Summary().write(board, tmp_path)[1]
    assert [
        element.tag.split("}")[1] for element in ET.fromstring(svg.read_text()).iter() if "script" in element.tag
    ] == []
    assert "<script" not in (tmp_path / "summary.md").read_text()
    assert Latex().write(board, tmp_path)
    for drawn in Figures().write(board, tmp_path)[::2]:
        assert "<script" not in drawn.read_text()


def test_an_empty_board_has_a_summary(tmp_path: Path) -> None:
    assert json.loads(Summary().write(make_leaderboard("demo", []), tmp_path)[2].read_text())["message"] == "no scores"


def test_they_write_only_where_they_are_named(tmp_path: Path) -> None:
    for name in ("records.jsonl", "plan.json"):
        (tmp_path / name).write_bytes((ROOT / "baselines" / "quick" / name).read_bytes())
    on_request = {one.entry.name for one in Registry().entries("reporter") if one.entry.on_request}
    assert {"figures", "latex", "summary"} <= on_request
    written = {path.name for path in api.report(tmp_path).written}
    assert {"leaderboard.md", "scores.csv"} <= written
    assert not written & {"summary.md", "leaderboard.tex"}
    assert [path.name for path in api.report(tmp_path, reporters="latex").written] == ["leaderboard.tex"]


def test_a_board_without_records_is_reported_by_what_is_named(tmp_path: Path) -> None:
    (tmp_path / "leaderboard.json").write_bytes((ROOT / "results" / "lite" / "leaderboard.json").read_bytes())
    result = api.report(tmp_path, reporters=["summary", "latex"])
    assert result.complaints == ()
    assert [path.name for path in result.written] == ["summary.md", "badge.svg", "badge.json", "leaderboard.tex"]
    with pytest.raises(StoreError, match="no results here"):
        api.report(tmp_path)


def test_only_reporters_are_on_request() -> None:
    from finefuse.discovery.registry import _fault

    assert (
        _fault("scheme", Entry("a", "b:C", on_request=True)) == "whose on_request is for reporters, and True or False"
    )
    assert _fault("reporter", Entry("a", "b:C", on_request=1)).startswith("whose on_request")  # type: ignore[arg-type]
    assert _fault("reporter", Entry("a", "b:C", on_request=True)) == ""
