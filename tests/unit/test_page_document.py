"""The document of the page, and what its scripts make of it: the ranks, pairs and win rates of finefuse.judge."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from finefuse.discovery.described import describe
from finefuse.discovery.registry import Registry
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.judge.board.lines import MOMENTS
from finefuse.judge.board.page import tables
from finefuse.judge.board.page.columns import COLUMNS
from finefuse.judge.overall import overall
from finefuse.judge.pairing import pair
from finefuse.types import Cell, Record
from helpers.scripts import Script

SKILLS = {"full": 1.6, "lp-ft": 1.5, "linear-probe": 0.8, "l2": 1.45, "bitfit": 0.2}


def answers(build: ModuleType, rng: np.random.Generator, skill: float, hard: np.ndarray) -> Record:
    right = skill + hard + 0.7 * rng.standard_normal(len(hard)) > 0
    return dict(build.scores(right.tolist()))


def errors(rng: np.random.Generator, skill: float, hard: np.ndarray) -> Record:
    """Of a regression: ranked by the root of the mean loss, which is lower where it is better."""
    losses = ((hard + rng.standard_normal(len(hard))) ** 2 / (1 + skill)).astype("<f4")
    fields: Record = {"metrics": ["rmse"], "better.rmse": "lower", "n_test": len(losses)}
    fields["test.rmse"] = float(np.sqrt(losses.mean()))
    nothing: Record = {"correct": None, "test.accuracy": None, "test.nll": None}
    return fields | nothing | {"losses": base64.b64encode(losses.tobytes()).decode()}


def costs(rng: np.random.Generator, skill: float) -> Record:
    """Some surely dearer than others, and some that overlap."""
    return {"seconds": 2 - skill + 0.2 * rng.random(), "flops": float(round(1e6 * abs(1.5 - skill)))}


@pytest.fixture(scope="module")
def records(build: ModuleType) -> list[Record]:
    """Two backbones; one data set with the same test examples for all seeds, one with others, and one regression."""
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    rows: list[Record] = []
    for dataset in ("digits", "shapes", "diabetes"):
        shared = rng.standard_normal(150)
        for seed in range(3):
            hard = rng.standard_normal(150) if dataset == "shapes" else shared
            for backbone, (label, skill) in ((b, item) for b in ("cnn-s", "vit-t") for item in SKILLS.items()):
                if (label, seed, dataset) == ("l2", 2, "digits"):
                    continue
                found = errors(rng, skill, hard) if dataset == "diabetes" else answers(build, rng, skill, hard)
                found["examples"] = f"{dataset} {seed if dataset == 'shapes' else ''}"
                kind, pool = ("fuse", "pool") if label == "l2" else ("tune", "")
                where: dict[str, Any] = {"seed": seed, "dataset": dataset, "backbone": backbone, "pool": pool}
                rows.append(build.row(kind, label, **where) | found | costs(other, skill))
    rows.append(build.row(label="full", seed=3, status="failed", reason="it broke"))
    rows.append(build.row(label="diverged", **{"test.accuracy": math.nan, "correct": None}))
    return rows


def board_of(records: list[Record]) -> Leaderboard:
    missing = [Cell("tune", "digits", "cnn-s", "never", "", 0, 0, 0, 0)]
    registry = Registry()
    return make_leaderboard("demo", records, missing, (), lambda kind, name: describe(registry, kind, name))


@pytest.fixture(scope="module")
def board(records: list[Record]) -> Leaderboard:
    return board_of(records)


@pytest.fixture(scope="module")
def judge(board: Leaderboard) -> Script:
    script = Script("judge", "board", "state", "text", "table")
    text = json.dumps(board.document(), allow_nan=False)
    script.engine.eval(f"globalThis.board = new Board({text})")
    return script


RANKS = """grouped(board, lines, across).map((group) => [group.dataset, group.backbone, group.lines.map(
    (line) => [board.names[line], board.text("backbone", line), ranksOf(board, group).ranks.get(line)])])"""


def ranks(judge: Script, lines: list[int], across: str = "") -> dict[tuple[str, str], dict[tuple[str, str], Any]]:
    found = judge(RANKS, lines=lines, across=across)
    return {(dataset, backbone): {(name, on): rank for name, on, rank in own} for dataset, backbone, own in found}


def expected(lines: pd.DataFrame) -> dict[tuple[str, str], Any]:
    found = {}
    for line in lines.to_dict("records"):
        name = f"{line['strategy']} of {line['pool']}" if line["pool"] else line["strategy"]
        rank = {"rank": line["rank"], "lowest": line["rank.lowest"], "tied": line["tied"]}
        found[name, line["backbone"]] = None if pd.isna(line["rank"]) else rank
    return found


def test_ranks_of_the_whole_board_are_those_of_python(judge: Script, board: Leaderboard) -> None:
    found = ranks(judge, list(range(len(board.lines))))
    assert len(found) == 6
    for (dataset, backbone), own in found.items():
        lines = board.lines[(board.lines["dataset"] == dataset) & (board.lines["backbone"] == backbone)]
        assert own == expected(lines)
    assert {rank["rank"] for own in found.values() for rank in own.values() if rank} > {1, 2}


@pytest.mark.parametrize("hidden", ["full", "linear-probe", "bitfit", "l2 of pool"])
def test_ranks_of_what_is_shown_are_those_of_a_board_without_the_rest(
    judge: Script, board: Leaderboard, records: list[Record], hidden: str
) -> None:
    shown = judge("shownLines(board, { ...unfiltered({}), hide: [hidden] })", hidden=hidden)
    assert 0 < len(shown) < len(board.lines)
    less = board_of([row for row in records if row["label"] != hidden.split()[0]]).lines
    for (dataset, backbone), own in ranks(judge, shown).items():
        assert own == expected(less[(less["dataset"] == dataset) & (less["backbone"] == backbone)])


def test_ranks_over_all_backbones_are_those_of_overall(
    judge: Script, board: Leaderboard, records: list[Record]
) -> None:
    scored = [row for row in records if row["label"] != "diverged"]
    found = ranks(judge, list(range(len(board.lines))), across="1")
    for dataset, lines in overall(scored).tables.items():
        own = {name: rank for name, rank in found[dataset, ""].items() if name[0] not in ("diverged", "never")}
        assert own == expected(lines)
        assert list(own) == list(expected(lines))


@pytest.mark.parametrize(("a", "b"), [("full", "lp-ft"), ("bitfit", "full"), ("l2 of pool", "linear-probe")])
def test_two_lines_are_paired_as_in_python(
    judge: Script, board: Leaderboard, records: list[Record], a: str, b: str
) -> None:
    found = pair(records, a, b)
    lines = board.lines.reset_index(drop=True)
    for table in found.tables.to_dict("records"):
        own = lines[(lines["dataset"] == table["dataset"]) & (lines["backbone"] == table["backbone"])]
        at = [int(own.index[own["strategy"] == name.split()[0]][0]) for name in (a, b)]
        paired = judge("paired(board, a, b)", a=at[0], b=at[1])
        assert [paired[n] for n in ("metric", "lower", "verdict")] == [table[n] for n in ("metric", "lower", "verdict")]
        assert [paired[n] for n in ("a", "b", "difference")] == pytest.approx(
            [table[n] for n in ("a", "b", "difference")]
        )
        unequal = (
            len(set(lines["ok"][at])) > 1
        )  # then --pair leaves out what the seeds without the other say of examples
        assert paired["half"] == pytest.approx(table["half"], rel=0.03 if unequal else 1e-6)
        seeds = found.seeds[(found.seeds["dataset"] == table["dataset"])]
        check_seeds(paired["seeds"], seeds[seeds["backbone"] == table["backbone"]], table["metric"])


def check_seeds(found: list[dict[str, Any]], seeds: pd.DataFrame, metric: str) -> None:
    assert [one["seed"] for one in found] == seeds["seed"].tolist()
    if metric == "accuracy":
        assert [one["p"] for one in found] == pytest.approx(seeds["p"].tolist(), rel=1e-9, nan_ok=True)
        told = [f"{one['onlyB']} of {one['of']} examples lost, {one['onlyA']} won" for one in found]
        assert told == seeds["from b to a"].tolist()


def test_win_rates_are_those_of_overall(judge: Script, board: Leaderboard, records: list[Record]) -> None:
    found = judge("winRates(board, lines)", lines=list(range(len(board.lines))))
    wins = overall([row for row in records if row["label"] != "diverged"]).wins
    assert (found["over"], found["count"], found["leftOut"]) == ("data sets", 3, 2)
    names = [" ".join([one["name"].replace(" of", ""), one["backbone"]]) for one in found["entrants"]]
    assert sorted(names) == sorted(wins.index)
    np.testing.assert_allclose(np.array(found["wins"], float), wins.loc[names, names].to_numpy())
    assert [one["average"] for one in found["entrants"]] == pytest.approx(
        sorted(wins.mean(axis=1, skipna=True), reverse=True)
    )


def test_win_rates_of_one_data_set_are_over_its_seeds(judge: Script, board: Leaderboard) -> None:
    lines = judge("shownLines(board, { ...unfiltered({}), data: 'shapes', on: 'cnn-s' })")
    found = judge("winRates(board, lines)", lines=lines)
    assert (found["over"], found["count"], found["leftOut"]) == ("seeds", 3, 0)
    assert {rate * 6 % 1 for row in found["wins"] for rate in row if not math.isnan(rate)} == {0}


@pytest.mark.parametrize(("cost", "column"), [("training", "seconds_with_members"), ("flops", "flops")])
def test_fronts_are_those_of_the_board(judge: Script, board: Leaderboard, cost: str, column: str) -> None:
    names = {"on": "front", "maybe": "maybe", "behind": ""}
    seen = set()
    for _, group in board.lines.reset_index(drop=True).groupby(["dataset", "backbone"]):
        lines = [at for at in group.index if group["ok"][at] and group["strategy"][at] != "diverged"]
        call = "Object.fromEntries(fronts(board, lines, board.byId.get(id), board.byId.get(board.rankedBy(lines[0]))))"
        found = judge(call, lines=lines, id=column)
        assert {int(at): names[place] for at, place in found.items()} == group[f"front.{cost}"][lines].to_dict()
        seen |= set(found.values())
    assert seen == {"on", "maybe", "behind"}


def test_costs_of_several_machines_have_no_ends(records: list[Record]) -> None:
    rows = [row | {"machine": "m2"} if row["seed"] else row for row in records]
    columns = {column["id"]: column for column in board_of(rows).document()["columns"]}
    assert set(columns["seconds_with_members"]["ends"]) == {None}
    assert set(map(type, columns["flops"]["ends"])) == {list, type(None)}


def test_data_sets_without_common_entrants_are_not_one_comparison(judge: Script) -> None:
    call = "shownLines(board, { ...unfiltered({}), data, only })"
    lines = judge(call, data="digits", only=["bitfit", "l2 of pool"])
    lines += judge(call, data="shapes", only=["full", "lp-ft", "linear-probe"])
    lines += judge(call, data="diabetes", only=["full", "lp-ft", "linear-probe", "bitfit"])
    found = judge("clusters(board, lines).map((one) => one.datasets)", lines=lines)
    assert sorted(map(sorted, found)) == [["diabetes", "shapes"], ["digits"]]


def test_resolution_is_that_of_the_board(judge: Script, board: Leaderboard) -> None:
    lines = list(range(len(board.lines)))
    said = judge("grouped(board, lines, '').map((group) => resolution(ranksOf(board, group)))", lines=lines)
    for found, text in zip(board.resolutions.values(), said, strict=True):
        assert text.startswith(f"{found.apart} of {found.neighbours} neighbours")
        assert f"{found.needed:.4f}" in text


def with_room(board: Leaderboard, room: int, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setattr(tables, "ROOM", room)
    script = Script("judge", "board")
    script.engine.eval(f"globalThis.board = new Board({json.dumps(board.document())})")
    return script


def test_without_room_for_pairs_a_table_keeps_the_ranks_of_the_whole(
    board: Leaderboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = with_room(board, 1600, monkeypatch)  # 45 pairs of 12 bytes in each of two tables, 66 in one
    lines = [at for at, name in enumerate(board.lines["dataset"]) if name == "digits"][:3]
    found = ranks(script, lines)["digits", "cnn-s"].values()
    assert [rank["rank"] for rank in found] == board.lines.iloc[lines]["rank"].tolist()
    assert [table.get("fixed") for table in board.document()["tables"]] == [None, True, None]


def test_without_room_tests_by_seed_are_left_out_first(board: Leaderboard, monkeypatch: pytest.MonkeyPatch) -> None:
    script = with_room(board, 3000, monkeypatch)
    lines = [at for at, name in enumerate(board.lines["dataset"]) if name == "shapes"][:2]
    paired = script("paired(board, ...lines)", lines=lines)
    assert [math.isnan(one["p"]) for one in paired["seeds"]] == [True] * 3
    assert paired["half"] > 0
    assert not any(table.get("fixed") for table in board.document()["tables"])


def test_a_board_that_was_kept_without_records_keeps_its_ranks(board: Leaderboard) -> None:
    script = Script("judge", "board")
    document = dataclasses.replace(board, records=()).document()
    script.engine.eval(f"globalThis.board = new Board({json.dumps(document)})")
    for (dataset, backbone), own in ranks(script, list(range(len(board.lines)))).items():
        lines = board.lines[(board.lines["dataset"] == dataset) & (board.lines["backbone"] == backbone)]
        assert own == expected(lines)


def test_every_column_of_the_board_has_a_place(board: Leaderboard) -> None:
    known = {"label", "round", "rounds", "rank", "tied", "rank.lowest", "interval", "metrics", "ok", "planned", "tasks"}
    known |= {name for name in map(str, board.lines) if name.startswith("front.")}  # the page finds fronts anew
    rest = {str(name) for name in board.lines} - known | {f"{moment}.accuracy.mean" for moment in MOMENTS}
    told = {name for name in rest if any(re.fullmatch(column.source, name) for column in COLUMNS)}
    assert {name for name in rest - told if not name.endswith(".half")} == set()


def test_no_column_has_two_places() -> None:
    sources = [column.source for column in COLUMNS]
    assert len(set(sources)) == len(sources)


def test_columns_have_titles_intervals_and_directions(board: Leaderboard) -> None:
    columns = {column["id"]: column for column in board.document()["columns"]}
    accuracy, rmse = columns["test.accuracy.mean"], columns["test.rmse.mean"]
    assert (accuracy["title"], accuracy["better"], rmse["better"]) == ("accuracy", "higher", "lower")
    lines = board.lines.reset_index(drop=True)
    for at in (0, len(lines) - 1):
        metric = lines["metrics"][at][0]
        assert columns[f"test.{metric}.mean"]["halves"][at] == pytest.approx(lines["interval"][at], rel=1e-8)
    assert accuracy["values"][0] is None
    assert "trials" not in columns


def test_records_that_lines_rest_on_and_those_that_are_not_ok_are_there(board: Leaderboard) -> None:
    cells = board.document()["cells"]
    columns = cells["columns"]
    status = [columns["status"]["values"][at] for at in columns["status"]["at"]]
    assert (status.count("failed"), status.count("missing"), status.count("ok")) == (1, 1, len(board.records) - 2)
    assert not {"correct", "losses", "parts"} & set(columns)
    at = columns["test.accuracy"]["at"]
    assert "NaN" in [columns["test.accuracy"]["values"][one] for one in at if one >= 0]


def test_strategies_say_what_they_are(board: Leaderboard) -> None:
    told = {one["label"]: one for one in board.document()["strategies"]}
    assert told["lp-ft"]["papers"] == ("https://arxiv.org/abs/2202.10054",)
    assert "lr" in {one["name"] for one in told["full"]["parameters"]}
    assert "there is no scheme 'diverged'" in told["diverged"]["trouble"]


def test_curves_over_sizes_are_there(board: Leaderboard) -> None:
    whole = {"dataset": "d", "backbone": "b", "pool": "p", "strategy": "soup", "metric": "accuracy", "planned": 3}
    points = [{**whole, "size": size, "subsets": 4 - size, "mean": 0.5, "half": math.inf} for size in (2, 3)]
    document = dataclasses.replace(board, curves=pd.DataFrame(points)).document()
    assert [(point["size"], point["half"]) for point in document["sizes"]] == [(2, "Infinity"), (3, "Infinity")]
    assert board.document()["sizes"] == []


def test_a_board_without_lines_has_a_document() -> None:
    document = make_leaderboard("empty", []).document()
    assert json.loads(json.dumps(document, allow_nan=False))["lines"]["count"] == 0


def test_scores_on_the_source_task_are_columns_with_their_intervals(build: ModuleType) -> None:
    rows = [
        build.row(seed=seed, **{"source.accuracy": 0.5 + seed / 10, "source.before.accuracy": 0.9}) for seed in range(3)
    ]
    columns = {column["id"]: column for column in board_of(rows).document()["columns"]}
    source, before = columns["source.accuracy.mean"], columns["source.before.accuracy.mean"]
    assert (source["title"], source["better"], source["values"][0]) == (
        "source accuracy",
        "higher",
        pytest.approx(0.6),
    )
    assert source["halves"][0] == pytest.approx(0.1 * 4.3027 / 3**0.5, rel=1e-4)
    assert (before["title"], before["values"][0]) == ("source accuracy, before", 0.9)
