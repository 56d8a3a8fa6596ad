"""docs/records.md has every field of real records, every column of the board and every file, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

import finefuse
from finefuse.api import Run
from finefuse.discovery.registry import Registry
from finefuse.types import JobKind, Status

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
TOYS = Path(__file__).parents[1] / "fixtures" / "toys.py"
PLUGIN = """
from dataclasses import dataclass
from finefuse import Entry, hookimpl

@dataclass(frozen=True)
class Adds:
    def prepare(self, net):
        import torch
        net.stages[0].append(torch.nn.Linear(8, 8))

    def tune(self, on):
        print("ranks itself")
        on.figures["rank"] = 7.0
        on.trainer.fit(on.model, [{"params": on.model.parameters()}])

@dataclass(frozen=True)
class Found:
    def tune(self, on):
        pass

    def provenance(self):
        return {"licence": "MIT"}

@hookimpl
def finefuse_schemes():
    yield Entry("adds", Adds, "adds a layer and reports a figure")
    yield Entry("found", Found, "was tuned elsewhere")

@dataclass(frozen=True)
class Merge:
    level = "weight"
    needs = ()

    def fuse(self, of):
        return of.members[0].net

@dataclass(frozen=True)
class Average:
    scale: float = 1.0
    level = "weight"
    needs = ()

    def fuse(self, of):
        from finefuse import nets
        return nets.averaged(of.members, [self.scale / len(of.members)] * len(of.members), None)

    def follow(self, net, of):
        return net

@hookimpl
def finefuse_fusions():
    yield Entry("merge", Merge, "takes the first member")
    yield Entry("average", Average, "the mean of the weights")
"""
SEARCH = {"of": "plain", "sampler": "grid", "trials": 3, "space": {"lr": {"choices": [0.02, 0.05]}}}
SUITE = {
    "name": "all-kinds",
    "seeds": [0, 1],
    "budget": {"epochs": 1},
    "datasets": ["blobs"],
    "also_test": [{"use": "blobs", "as": "again"}],
    "source_test": True,
    "backbones": ["mlp"],
    "metrics": ["hits"],
    "schemes": ["plain", "adds", "clumsy", "choosy", "found", {"use": "search", "as": "searched", **SEARCH}],
    "selection": "best-val",
    "fusions": ["middle", {"use": "merge", "rounds": 2}],
    "pools": {"good": {"of": ["plain", "adds"]}, "bad": {"of": ["clumsy"]}},
    "latency": [1],
}

FEW = {"of": ["plain"], "copies": 3, "sizes": [2], "subsets": 1}
ACROSS = {
    "datasets": ["blobs", {"use": "blobs", "as": "wide", "spread": 2.0}],
    "schemes": ["plain"],
    "fusions": [{"use": "average", "choose": {"scale": [0.5, 1.0]}, "followed_by": ["average"]}],
    "pools": {
        "tasks": {"of": ["plain"], "datasets": "*"},
        "few": {"of": ["plain"], "copies": 3, "sizes": [2], "subsets": 1},
    },
}


@pytest.fixture(scope="module")
def crossing(result: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One with a pool across data sets."""
    doors, folder = [str(TOYS), str(result.folder.parent / "adds.py")], tmp_path_factory.mktemp("across")
    how = {"out": folder / "out", "store": folder / "store"}
    return finefuse.run(SUITE | ACROSS, plugins=doors, workers=0, quiet=True, **how)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which something of everything happens."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "adds.py").write_text(PLUGIN)
    doors = [str(TOYS), str(folder / "adds.py")]
    return finefuse.run(SUITE, plugins=doors, workers=0, out=folder / "out", store=folder / "store", quiet=True)


def general(field: str) -> str:
    """`test.accuracy` as the page writes it, `test.<metric>`."""
    field = re.sub(r"^figure\..+", "figure.<name>", re.sub(r"^latency\.\d+", "latency.<batch>", field))
    field = re.sub(r"^task\.(blobs|wide)", "task.<data set>", field.replace("also.again", "also.<data set>"))
    return re.sub(r"(?<!<data set>)\.(hits|normalised)\b|\.hits\b", ".<metric>", field)


def tables(text: str) -> dict[str, list[str]]:
    """The other cells of each row, by what stands in backticks in the first, of all tables in a text."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    names = [(name, cells) for first, *cells in rows for name in re.findall(r"`(.+?)`", first)]
    assert len(names) == len(dict(names))
    return dict(names)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_fields_of_real_records_are_documented_and_no_others(result: Run, crossing: Run) -> None:
    written = {general(field) for row in (*result.rows, *crossing.rows) for field in row}
    elsewhere = {"losses", "seconds_compiling", "skipped_steps", "steps_replayed", "not_replayed", "seconds_shared"}
    assert written | elsewhere == set(tables(section("A record")))


def test_every_row_has_what_every_row_should_have(result: Run) -> None:
    always = set(tables(section("A record").split("\n\nRows that are `ok`")[0])) - {"error", "traceback"}
    assert len(always) > 10
    for row in result.rows:
        assert always <= row.keys(), row["cell"]
    failed = [row for row in result.rows if row["status"] == "failed"]
    assert [(row["error"], bool(row["traceback"])) for row in failed] == [("ValueError", True)] * 2


def test_kinds_and_statuses_are_told(result: Run) -> None:
    for value in (*get_args(JobKind), *get_args(Status)):
        assert f"`{value}`" in PAGE
    assert {row["status"] for row in result.rows} == {"ok", "failed", "skipped", "blocked"}


def test_the_columns_of_the_board_and_where_they_go_are_told(result: Run, crossing: Run) -> None:
    table, boards = tables(section("The board")), (result.board, crossing.board)
    assert {general(name) for board in boards for name in board.lines} == set(table)
    in_scores = [name for name, (_, scores, _) in table.items() if scores] + ["metric"]
    assert {general(name) for board in boards for name in board.scores()} == set(in_scores)
    in_costs = {name for name, (_, _, costs) in table.items() if costs}
    assert set(map(general, result.board.costs())) == in_costs | {"dataset", "backbone", "strategy", "pool"}


def test_the_files_of_a_results_folder_are_told(result: Run) -> None:
    told = {name.rstrip("/") for name in tables(PAGE.split("\n## ")[0])}
    assert {path.name for path in result.folder.iterdir()} == told


def test_the_board_as_json_has_the_keys_that_are_told(result: Run) -> None:
    content = json.loads((result.folder / "leaderboard.json").read_text())
    sentence = PAGE.split("**`leaderboard.json`** has ")[1].split(". ")[0]
    assert re.findall(r"`(\w+)`", sentence) == list(content)


def test_the_reports_on_request_are_told() -> None:
    on_request = [one.entry.name for one in Registry().entries("reporter") if one.entry.on_request]
    section = PAGE.split("\n## Reports")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)) == sorted(on_request)
