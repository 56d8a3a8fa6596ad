"""Nothing is believed unread: damaged artifacts and rows, and what plugins hand over that is not what it should be."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import finefuse
from finefuse import Entry, FinefuseError, api, hookimpl
from finefuse.api import Run
from finefuse.errors import StoreError
from finefuse.progress import Progress
from finefuse.types import Record
from helpers.rows_on_disk import full_disk

TOYS = Path(__file__).parents[1] / "fixtures" / "toys.py"
SUITE: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0],
    "budget": {"epochs": 1},
    "datasets": ["blobs"],
    "backbones": ["mlp"],
    "metrics": ["hits"],
    "schemes": ["plain"],
    "fusions": ["middle"],
    "pools": {"both": {"of": ["plain"], "copies": 2}},
    "latency": [],
}
SOUP = {"fusions": ["middle", "soup"]}


class Listener(Progress):
    """Keeps the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Place:
    """Where a suite is run, again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"
        self.notes: list[str] = []

    def run(self, out: str = "out", *plugins: Any, **changes: Any) -> Run:
        told = Listener()
        doors = [str(TOYS), *plugins]
        found = finefuse.run(
            SUITE | changes, plugins=doors, workers=0, out=self.folder / out, store=self.store, watcher=told
        )
        self.notes = told.notes
        return found

    def artifact(self, row: Record, name: str) -> Path:
        return self.store / row["artifact"][:2] / row["artifact"] / name


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def pick(found: Run, kind: str, label: str, member: int = 0) -> Record:
    (row,) = [row for row in found.rows if (row["kind"], row["label"], row["member"]) == (kind, label, member)]
    return row


def lasting(row: Record) -> Record:
    return {name: row[name] for name in ("test.hits", "outputs", "correct")}


# ------------------------------------------------------------------------------------------- the store


@pytest.mark.parametrize("name", ["weights.safetensors", "outputs.safetensors", "meta.json", "origin.json"])
def test_a_damaged_artifact_is_made_again_and_never_used(place: Place, tmp_path: Path, name: str) -> None:
    member = pick(place.run(), "tune", "plain", 1)
    path = place.artifact(member, name)
    whole = bytearray(path.read_bytes())
    if name == "weights.safetensors":  # the sign bit of every weight
        start = 8 + int.from_bytes(whole[:8], "little") + 3
        whole[start::4] = bytes(byte ^ 128 for byte in whole[start::4])
    else:
        whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    found = place.run(**SOUP)
    assert place.notes == [f"{member['cell']}: its artifact in the store is damaged and is made again."]
    clean = Place(tmp_path / "clean").run(**SOUP)
    assert lasting(pick(found, "fuse", "soup")) == lasting(pick(clean, "fuse", "soup"))
    place.run(**SOUP, seeds=[0])
    assert place.notes == []


def test_a_damaged_ancestor_is_made_again_too(place: Place, tmp_path: Path) -> None:
    first = place.run()
    base, member = next(row for row in first.rows if row["kind"] == "pretrain"), pick(first, "tune", "plain")
    for row in (base, member):
        place.artifact(row, "weights.safetensors").write_bytes(b"")
    found = place.run(**SOUP)
    assert sorted(note.split(": ")[0] for note in place.notes) == [base["cell"], member["cell"]]
    clean = Place(tmp_path / "clean").run(**SOUP)
    assert lasting(pick(found, "fuse", "soup")) == lasting(pick(clean, "fuse", "soup"))


def test_a_worker_that_meets_damage_ends_the_run_in_a_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the store and the job."""
    member = pick(place.run(), "tune", "plain", 1)
    place.artifact(member, "weights.safetensors").write_bytes(b"")
    monkeypatch.setattr("finefuse.engine.store.artifacts.Artifacts.intact", lambda self, address: True)
    with pytest.raises(StoreError, match=r"weights.safetensors: is damaged"):
        place.run(**SOUP)


def test_a_row_in_the_store_that_was_written_in_is_not_taken_over(place: Place) -> None:
    row = pick(place.run(), "tune", "plain")
    (kept,) = place.store.glob(f"rows/*/{row['key']}.json")
    kept.write_text(kept.read_text().replace(f'"test.hits": {row["test.hits"]}', '"test.hits": 1.0'))
    again = place.run("elsewhere")
    assert lasting(pick(again, "tune", "plain")) == lasting(row)
    assert place.notes == [f"{kept}: is not what was kept. It is not taken over, and its job runs."]


# ------------------------------------------------------------------------------------------- records


def test_a_line_that_contradicts_itself_runs_again_and_is_told(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    first = place.run()
    row = pick(first, "tune", "plain")
    file = first.folder / "records.jsonl"
    file.write_text(file.read_text().replace(f'"test.hits":{row["test.hits"]}', '"test.hits":0.123'))
    changed = file.read_text().count('"test.hits":0.123')
    for read in (lambda: api.report(first.folder), lambda: api.compare(first.folder, first.folder)):
        with pytest.raises(
            FinefuseError, match=r"records.jsonl:\d+: .* has 0.123 as `test.hits`, and its own bits say"
        ):
            read()
    found = place.run()
    assert lasting(pick(found, "tune", "plain")) == lasting(row)
    (note,) = place.notes
    assert note.startswith(f"{file}:")
    assert "it counts for nothing, and a job that needs its row runs again." in note
    assert len(file.read_text().splitlines()) == len(first.rows) + changed
    assert any("are damaged and were ignored" in line for line in found.board.notes)
    assert api.compare(first.folder, first.folder).passed


# ------------------------------------------------------------------------------------------- plugins


class Handing:
    """A scheme, a metric and a fusion that hand over what they are told to."""

    figures: Any = None
    score: Any = 0.5
    fused: Any = None

    @hookimpl
    def finefuse_schemes(self):
        @dataclass(frozen=True)
        class Reports:
            def tune(this, on: Any) -> None:
                on.trainer.fit(on.model, [{"params": on.model.parameters()}])
                on.figures.update(self.figures)

        yield Entry("reports", Reports, "reports figures")

    @hookimpl
    def finefuse_metrics(self):
        @dataclass(frozen=True)
        class Odd:
            kinds = ("classification",)
            higher_is_better = True

            def score(this, outputs: Any, y: Any) -> Any:
                return self.score

        yield Entry("odd", Odd, "scores oddly")

    @hookimpl
    def finefuse_fusions(self):
        @dataclass(frozen=True)
        class Gives:
            level = "feature"
            needs = ()

            def fuse(this, of: Any) -> Any:
                return self.fused

        yield Entry("gives", Gives, "gives what it is told to")


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"rank": "high"}, "the figure 'rank' is 'high'"),
        ({"rank": None}, "the figure 'rank' is None"),
        ({"rank": True}, "the figure 'rank' is True"),
        ({"rank": [math.nan]}, "the figure 'rank' is [nan]"),
        ({"rank": math.inf}, "the figure 'rank' is inf"),
        ({"rank": torch.tensor(1.0)}, "the figure 'rank' is tensor(1.)"),
        ({3: 1.0}, "the figure 3 is 1.0"),
        ({"rank": 1e200}, "its row has 1e+200 as `figure.rank`"),
    ],
    ids=str,
)
def test_a_figure_that_is_no_number_costs_the_row_and_not_the_board(
    place: Place, figures: dict[Any, Any], sentence: str
) -> None:
    hand = Handing()
    hand.figures = figures
    found = place.run("out", hand, schemes=["plain", "reports"])
    row = pick(found, "tune", "reports")
    assert row["status"] == "failed"
    assert row["reason"].startswith(f"PluginError: {sentence}")
    assert pick(found, "tune", "plain")["status"] == "ok"
    assert found.complaints == ()
    assert len(found.written) == 5


@pytest.mark.parametrize("value", [1, 0.5, math.nan, np.float64(0.25)])
def test_a_figure_that_is_a_number_is_on_the_board(place: Place, value: float) -> None:
    hand = Handing()
    hand.figures = {"rank": value}
    found = place.run("out", hand, schemes=["reports"], fusions=[], pools={})
    assert pick(found, "tune", "reports")["status"] == "ok"
    assert "figure.rank" in found.board.lines


@pytest.mark.parametrize("score", ["high", None, True, torch.tensor(1.0), [0.5]], ids=str)
def test_a_score_that_is_no_number_costs_the_row_and_not_the_board(place: Place, score: Any) -> None:
    hand = Handing()
    hand.score = score
    found = place.run("out", hand, metrics=["hits", "odd"])
    assert {row["status"] for row in found.rows if row["kind"] in ("tune", "pool")} == {"failed"}
    assert pick(found, "tune", "plain")["reason"].startswith("PluginError: the metric odd gave ")
    assert found.complaints == ()


@pytest.mark.parametrize("fused", [None, "a network", torch.zeros(3)], ids=str)
def test_a_fusion_that_gives_no_module_costs_its_row(place: Place, fused: Any) -> None:
    hand = Handing()
    hand.fused = fused
    found = place.run("out", hand, fusions=["middle", "gives"])
    assert pick(found, "fuse", "middle")["status"] == "ok"
    assert pick(found, "fuse", "gives")["reason"].startswith("PluginError: a fusion gives a module, and this one gave ")


# ------------------------------------------------------------------------------------------- full disks


def test_reports_are_written_whole_or_not_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    found = place.run()
    before = {path: path.read_bytes() for path in found.folder.iterdir() if path.is_file()}
    row = pick(found, "tune", "plain")
    with (found.folder / "records.jsonl").open("a") as file:
        file.write(json.dumps(row | {"status": "failed", "reason": "later"}) + "\n")
    with monkeypatch.context() as patch:
        full_disk(patch, "fsync")
        again = api.report(found.folder)
    assert sorted(again.complaints) == sorted(
        f"{found.folder / name}: can't be written: No space left on device."
        for name in ("leaderboard.html", "leaderboard.md", "leaderboard.json", "scores.csv")
    )
    after = {path: path.read_bytes() for path in found.folder.iterdir() if path.is_file()}
    del before[found.folder / "records.jsonl"], after[found.folder / "records.jsonl"]
    assert after == before


def test_a_report_that_is_a_link_stays_one(place: Place, tmp_path: Path) -> None:
    found = place.run()
    target, link = tmp_path / "board.md", found.folder / "leaderboard.md"
    link.replace(target)
    link.symlink_to(target)
    target.write_text("old")
    api.report(found.folder)
    assert link.is_symlink()
    assert target.read_text().startswith("# tiny")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("verb", [["report", "out"], ["list", "metrics"], ["--help"], ["schema"]], ids=lambda v: v[0])
def test_output_that_can_not_be_written_is_a_sentence(place: Place, verb: list[str]) -> None:
    place.run()
    command = [sys.executable, "-m", "finefuse", *verb]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=place.folder, env=environment, check=False
        )
    assert (done.returncode, done.stderr) == (2, "error: the output can't be written: No space left on device.\n")
