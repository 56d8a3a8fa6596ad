"""A tiny suite's scores against committed ones, so that a change of results without a new RESULTS_VERSION is noticed.

`python tests/e2e/test_golden.py` writes golden/tiny.json anew, after RESULTS_VERSION was raised or the suite changed.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import finefuse
from finefuse.declare.keys import RESULTS_VERSION

SUITE = Path(__file__).parent / "golden" / "tiny.toml"
GOLDEN = SUITE.with_suffix(".json")
TINY = str(Path(__file__).parents[1] / "fixtures" / "plugins" / "tiny.py")
HOW = "run `python tests/e2e/test_golden.py` to write golden/tiny.json anew, and commit it"
ADVICE = f"if results were meant to change, raise RESULTS_VERSION in finefuse/declare/keys.py and {HOW}"
NLL = 1e-3
"""Relative. Other vector instructions move the seventh digit; a learning rate 2 % off the second or third."""
EXAMPLES = 1.5 / 90
"""Accuracy on 90 test examples may move by one of them."""

Scores = dict[str, dict[str, float]]


def scores(folder: Path, suite: Mapping[str, Any]) -> Scores:
    """Accuracy and nll of every cell."""
    run = finefuse.run(
        suite, plugins=TINY, device="cpu", workers=0, out=folder / "out", store=folder / "store", quiet=True
    )
    assert run.ok
    return {
        row["cell"]: {"accuracy": row["test.accuracy"], "nll": row["test.nll"]}
        for row in run.rows
        if row["status"] == "ok" and row["kind"] in ("tune", "fuse")
    }


def differences(golden: Scores, new: Scores) -> list[str]:
    """A line per cell that moved, came or went."""
    lines = [f"{cell} is {'new' if cell in new else 'gone'}" for cell in golden.keys() ^ new.keys()]
    for cell in golden.keys() & new.keys():
        was, now = golden[cell], new[cell]
        near = abs(now["nll"] - was["nll"]) <= NLL * abs(was["nll"])
        if not near or not abs(now["accuracy"] - was["accuracy"]) <= EXAMPLES:
            lines.append(f"{cell} was {was} and is {now}")
    return sorted(lines)


def committed() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text()))


def test_the_golden_scores_are_those_of_this_results_version() -> None:
    assert committed()["results_version"] == RESULTS_VERSION, f"RESULTS_VERSION was raised; {HOW}"


def test_scores_are_the_golden_ones(tmp_path: Path) -> None:
    moved = differences(committed()["scores"], scores(tmp_path, tomllib.loads(SUITE.read_text())))
    assert not moved, "\n".join([f"results have changed; {ADVICE}", *moved])


def test_a_small_change_of_method_is_noticed(tmp_path: Path) -> None:
    suite = tomllib.loads(SUITE.read_text())
    faster = [{"use": "full", "as": "full", "lr": 0.051}, {"use": "head-sgd", "as": "head-sgd", "lr": 0.0306}]
    new = scores(tmp_path, suite | {"schemes": faster, "fusions": [], "pools": {}})
    golden = {cell: golden for cell, golden in committed()["scores"].items() if cell in new}
    assert len(golden) == 4
    assert len(differences(golden, new)) == 4


def test_what_comes_and_goes_is_told_and_the_last_digits_are_not() -> None:
    one = {"accuracy": 0.5, "nll": 1.0}
    assert differences({"a": one, "b": one}, {"b": one, "c": one}) == ["a is gone", "c is new"]
    assert differences({"a": one}, {"a": {"accuracy": 0.5, "nll": 1.00002}}) == []
    assert len(differences({"a": one}, {"a": {"accuracy": 0.5, "nll": float("nan")}})) == 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = scores(Path(folder), tomllib.loads(SUITE.read_text()))
    GOLDEN.write_text(json.dumps({"results_version": RESULTS_VERSION, "scores": found}, indent=1) + "\n")
    print(f"{GOLDEN}: {len(found)} cells of RESULTS_VERSION {RESULTS_VERSION}")
