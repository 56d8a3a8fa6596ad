"""A change makes only its own cells stale, `plan --why` names it, and a run makes just those anew."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plugins"
SUITE = """
name      = "stale"
seeds     = [0, 1]
budget    = { epochs = 4, batch_size = 16 }
datasets  = ["points"]
backbones = ["tiny"]
metrics   = ["accuracy", "nll"]
schemes   = ["full", "helped", { use = "head-sgd", as = "head", lr = 0.01 }]
fusions   = ["mean-probs"]
latency   = []

[pools]
with    = { of = ["full", "helped"] }
without = { of = ["full", "head"] }
"""
PLUGINS = ("--plugin", "with_helper.py", "--plugin", "tiny.py", "--device", "cpu")
HELPED = {"tune/points/tiny/helped/", "fuse/points/tiny/mean-probs/with", "pool/points/tiny//with"}
HEAD = {"tune/points/tiny/head/", "fuse/points/tiny/mean-probs/without", "pool/points/tiny//without"}
PRETRAIN = "pretrain/points(centres=1, images=false, outputs=5)/tiny//"
ALL = {*HELPED, *HEAD, "tune/points/tiny/full/", PRETRAIN}
BOTH = 2


@pytest.fixture(scope="module")
def finished(new_place: Callable[[], Any]) -> Any:
    """A finished run whose plugins lie in its own folder, where they can be edited."""
    place = new_place()
    for name in ("with_helper.py", "helper_of_plugin.py", "tiny.py"):
        shutil.copy(FIXTURES / name, place.folder)
    place.write("stale.toml", SUITE)
    outcome = place.run("run", "stale.toml", *PLUGINS, "--workers", "0")
    assert outcome.code == 0, outcome.err
    return place


def stale(place: Any) -> dict[str, str]:
    """Why cells are stale, by cell without its seed; a fusion's members are stale with their own reason."""
    outcome = place.run("plan", "stale.toml", *PLUGINS, "--why")
    assert outcome.code == 0, outcome.err
    return dict(re.findall(r"^\w{8}  stale .*?(\w+/.+)/s\d+/m\d+/r\d+ +(.*)$", outcome.out, re.MULTILINE))


@pytest.mark.parametrize(
    ("old", "new", "cells", "why"),
    [
        ("lr = 0.01", "lr = 0.02", HEAD, "scheme head-sgd: lr was 0.01 and is 0.02"),
        ("lr = 0.01", 'lr = 0.01, optimizer = "sgd"', HEAD, 'scheme head-sgd: optimizer was "adam" and is "sgd"'),
        (
            "epochs = 4",
            "epochs = 5",
            ALL - {PRETRAIN},
            "budget: epochs was 4 and is 5",
        ),
        ('"nll"]', '"ece"]', {cell for cell in ALL if not cell.startswith("pretrain")}, "metric"),
        ("latency ", "threads = 2\nlatency ", ALL, "threads was 1 and is 2"),
        ("latency ", "limits = { seconds = 5 }\nlatency ", set(), ""),
        ('["points"]', '[{ use = "points", centres = 0 }]', set(), ""),
    ],
)
def test_a_change_in_the_suite_is_named(finished: Any, old: str, new: str, cells: set[str], why: str) -> None:
    finished.write("stale.toml", SUITE.replace(old, new))
    try:
        found = stale(finished)
    finally:
        finished.write("stale.toml", SUITE)
    assert found.keys() == cells
    assert all(why in reason or reason == "members changed" for reason in found.values()), found
    assert any(why in reason for reason in found.values()) or not cells


def test_another_data_set_is_another_cell_and_not_a_stale_one(finished: Any) -> None:
    finished.write("stale.toml", SUITE.replace('["points"]', '[{ use = "points", centres = 2 }]'))
    outcome = finished.run("plan", "stale.toml", *PLUGINS, "--why")
    finished.write("stale.toml", SUITE)
    assert "tune/points(centres=2)/tiny/full//s0/m0/r0" in outcome.out
    assert "stale" not in outcome.out.partition("\n\n")[2]


def test_nothing_changed_is_nothing_stale(finished: Any) -> None:
    (finished.folder / "bystander.py").write_text("RATE = 5\n")
    assert stale(finished) == {}


def test_a_helper_that_a_plugin_imports_makes_its_cells_stale_and_they_run_again(finished: Any) -> None:
    before, board = finished.rows("results/stale"), finished.scores("results/stale").decode()
    finished.write("helper_of_plugin.py", '"""Slower."""\n\nRATE = 0.001\n')
    why = stale(finished)
    assert why.keys() == HELPED
    assert "source helper_of_plugin.py changed" in why["tune/points/tiny/helped/"]
    assert "full.py" not in "".join(why.values())
    assert "members changed" in why["fuse/points/tiny/mean-probs/with"]

    outcome = finished.run("run", "stale.toml", *PLUGINS, "--workers", "0")
    assert outcome.code == 0, outcome.err
    rows = finished.rows("results/stale")
    assert rows[: len(before)] == before
    assert {row["cell"].rpartition("/s")[0] for row in rows[len(before) :]} == HELPED
    assert len(rows) == len(before) + BOTH * len(HELPED)
    assert stale(finished) == {}

    new = finished.scores("results/stale").decode()
    was, now = (dict(line.split(",", 2)[2].split(",", 1) for line in text.splitlines()) for text in (board, new))
    assert was.keys() == now.keys()
    assert was["helped"] != now["helped"]
    nll = sum(row["test.nll"] for row in rows if row["label"] == "helped" and row not in before) / BOTH
    assert any(abs(float(number) - nll) < 1e-9 for number in re.findall(r"\d\.\d+", now["helped"]))
    assert nll != pytest.approx(sum(row["test.nll"] for row in before if row["label"] == "helped") / BOTH)
