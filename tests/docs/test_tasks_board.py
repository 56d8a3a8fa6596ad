"""The suite `tasks` is what it says, and its committed board tells methods apart."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import finefuse

ROOT = Path(__file__).parents[2]
PLAIN = "plain-average"
OF_TASKS = {"own-members", "joint-training"}
"""Lines of fusions that merge nothing."""


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    """Lines of the pools across data sets."""
    scores = pd.read_csv(ROOT / "results" / "tasks" / "scores.csv")
    return scores[scores.metric == "normalised"].set_index(["backbone", "pool", "strategy"]).sort_index()


def test_the_suite_has_tasks_and_methods_enough_and_skips_none() -> None:
    plan = finefuse.plan("tasks", device="cpu")
    suite = plan.suite
    assert len(suite.datasets) >= 5
    assert [one.name for one in suite.backbones] == ["cnn-s", "vit-t"]
    assert (len(suite.schemes), len(suite.seeds)) == (2, 3)
    fused = {job.strategy.name for job in plan.jobs if job.kind == "fuse" and job.strategy}
    assert len(fused) >= 15
    assert not [job.label for job in plan.jobs if job.skip]


def test_all_rows_of_the_board_are_ok(board: pd.DataFrame) -> None:
    assert set(board.status) == {"3/3"}
    assert len(board) == 2 * 2 * 17


@pytest.mark.parametrize("backbone", ["cnn-s", "vit-t"])
def test_it_tells_methods_apart(board: pd.DataFrame, backbone: str) -> None:
    """Own models are 10 points above a plain average beyond noise, and the best merge without training 5 points."""
    lines = board.loc[backbone, "tuned"]
    plain, merges = lines.loc[PLAIN], lines.drop([PLAIN, *OF_TASKS, "distill"])
    assert plain["gain"] + plain["gain.half"] < -0.10
    assert merges["test.accuracy.mean"].max() > plain["test.accuracy.mean"] + 0.05
    distilled = lines.loc["distill"]
    apart = distilled["test.accuracy.mean"] - plain["test.accuracy.mean"]
    assert apart > 0.05 + distilled["test.accuracy.half"] + plain["test.accuracy.half"]


@pytest.mark.parametrize("backbone", ["cnn-s", "vit-t"])
def test_tasks_are_neither_trivial_nor_out_of_reach(board: pd.DataFrame, backbone: str) -> None:
    own = board.loc[backbone, "tuned"].loc["own-members"]
    scores = own[[column for column in board.columns if column.startswith("task.") and column.endswith(".score.mean")]]
    assert len(scores) == 5
    assert 0.79 < scores.min() <= scores.max() < 0.985
