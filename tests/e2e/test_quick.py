"""The main job: the quick suite from an empty folder to a leaderboard, and what comes after it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from finefuse.discovery.registry import Registry

TORCH_FREE = """
import sys
from finefuse.cli import main
try:
    main(sys.argv[1:])
finally:
    assert "torch._C" not in sys.modules
    assert "sklearn" not in sys.modules
"""


def small_quick() -> str:
    """The quick suite with one seed, one backbone and little to train; its pretraining is the real one."""
    text = Registry().suites()["quick"].read_text(encoding="utf-8")
    for pattern, new in (
        (r"^seeds .*$", "seeds = [0]"),
        (r"^budget .*$", "budget = { epochs = 3 }"),
        (r"^backbones .*$", 'backbones = ["cnn-s"]'),
    ):
        text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
        assert count == 1
    return text


def main_job(place: Any, suite: str) -> list[dict[str, Any]]:
    """Run it cold, again, report it and compare it with itself; the rows."""
    outcome = place.run("run", suite, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    folder: Path = place.folder / "results" / "quick"
    reports = {f"leaderboard.{ending}" for ending in ("md", "json", "html")} | {"scores.csv", "costs.csv"}
    written = reports | {"records.jsonl", "predictions.jsonl", "plan.json"}
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == written
    board = (folder / "leaderboard.md").read_text(encoding="utf-8")
    assert outcome.out == board
    rows: list[dict[str, Any]] = place.rows("results/quick")
    assert f"This board rests on {len(rows)} of {len(rows)} planned cells." in board
    assert {row["status"] for row in rows} == {"ok"}
    again_has_nothing_to_do(place, suite, board)
    reports_come_back(place, folder, board)
    passed = place.run("compare", "results/quick", "results/quick")
    assert (passed.code, passed.out.splitlines()[0]) == (0, "# passed: results/quick against results/quick")
    return rows


def again_has_nothing_to_do(place: Any, suite: str, board: str) -> None:
    before = place.rows("results/quick")
    outcome = place.run("run", suite, "--device", "cpu", python=("-c", TORCH_FREE))
    assert (outcome.code, outcome.out) == (0, board), outcome.err
    assert f"quick: {len(before)} jobs, {len(before)} kept, 0 to run" in outcome.err
    assert place.rows("results/quick") == before


def reports_come_back(place: Any, folder: Path, board: str) -> None:
    for name in ("leaderboard.md", "scores.csv"):
        (folder / name).unlink()
    assert place.run("report", "results/quick").code == 0
    assert (folder / "leaderboard.md").read_text(encoding="utf-8") == board
    assert json.loads((folder / "leaderboard.json").read_text())["suite"] == "quick"


def test_a_small_quick_suite_cold_and_again(place: Any) -> None:
    place.write("small.toml", small_quick())
    rows = main_job(place, "small.toml")
    assert {row["kind"] for row in rows} == {"pretrain", "tune", "fuse", "pool", "time"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quick_suite_cold_and_again(place: Any) -> None:
    rows = main_job(place, "quick")
    assert len(rows) == 162
    accuracy = {
        (row["backbone"], row["label"]): row["test.accuracy"]
        for row in rows
        if row["kind"] == "tune" and row["seed"] == row["member"] == 0
    }
    assert all(0.8 < value < 0.97 for value in accuracy.values()), accuracy
    spread = {
        backbone: {value for (name, _), value in accuracy.items() if name == backbone} for backbone, _ in accuracy
    }
    assert all(max(values) - min(values) > 0.01 for values in spread.values())
