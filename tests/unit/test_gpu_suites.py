"""The built-in suites that need a GPU and a network: what they promise, and a run of all their lines on small fakes."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import finefuse
from finefuse.declare.suite import Suite, load_suite
from finefuse.discovery.registry import Registry
from finefuse_zoo.datasets._official import OFFICIAL
from helpers.suites import text_of

pytest.importorskip("torchvision")
pytest.importorskip("peft")
ROOT = Path(__file__).parents[2]
SMALL = str(ROOT / "tests" / "fixtures" / "plugins" / "small.py")
NAMES = ("cifar10", "vtab-mini")
ARTICLES = {"epochs": 20, "batch_size": 128}


def loaded(name: str) -> Suite:
    return load_suite(ROOT / "suites" / f"{name}.toml", Registry(("finefuse_zoo.hooks",), entry_points=False))


# ------------------------------------------------------------------------------------------------------ what they say


@pytest.mark.parametrize("name", NAMES)
def test_what_has_not_been_run_says_so(name: str) -> None:
    assert ("NOT YET RUN" in text_of(name)) != (ROOT / "results" / name / "leaderboard.md").exists()


def test_cifar10_has_the_articles_recipes_and_weights() -> None:
    suite = loaded("cifar10")
    models = ["resnet18", "resnet50", "vgg16", "inception_v3", "vit_b_16"]
    assert [ref.kwargs["model"] for ref in suite.backbones] == models
    assert {name: getattr(suite.settings.budget, name) for name in ARTICLES} == ARTICLES
    schemes = {line.label: line.ref for line in suite.schemes}
    assert schemes["head-sgd"].kwargs == {"lr": 0.001, "optimizer": "adam"}
    full = schemes["articles-full"].kwargs
    assert (full["of"], full["spend"] * suite.settings.budget.epochs) == ([{"use": "full", "lr": 0.001}], 10)
    (weights,) = (line.ref.kwargs["weights"] for line in suite.fusions if line.label == "articles-weights")
    assert weights == [0.3, 0.3, 0.4]
    assert {len(pool.of) * pool.copies * max(1, len(pool.backbones)) for pool in suite.pools} == {len(weights)}
    assert "94 %" in text_of("cifar10")


def test_vtab_mini_has_a_thousand_labels_a_task() -> None:
    lines = [line for line in text_of("vtab-mini").splitlines() if " as = " in line and "val = " in line]
    for ref, line in zip(loaded("vtab-mini").datasets, lines, strict=True):
        given, classes = ref.kwargs, OFFICIAL[ref.kwargs["name"]].classes
        train, val = classes * given["shots"], classes * given["val"]
        assert line.endswith(f"# {train} + {val}")
        assert abs(train - 800) <= 16
        assert abs(val - 200) <= 16


# ------------------------------------------------------------------------------------------------------ what they do


@pytest.fixture
def fakes(fixture_module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All data sets where the suites look for them."""
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    fixture_module("official").everything(tmp_path / "cache" / "torchvision", monkeypatch, fixture_module("images"))


def cut_down(name: str, *, small: bool = True) -> dict[str, Any]:
    """The suite as it is, but with one seed, one epoch, one image per class and random weights, of small networks."""
    suite = tomllib.loads(text_of(name))
    suite |= {"seeds": [0], "budget": {"epochs": 1, "batch_size": 8}, "checkpoints": 1, "latency": []}
    suite["datasets"] = [{**data, "shots": 1, "val": 1} for data in suite["datasets"]]
    for dataset in suite["datasets"]:
        dataset |= {"size": 32} if "size" in dataset else {}
    if small:
        suite["backbones"] = [{"use": "small", "as": b["as"], "model": b["model"]} for b in suite["backbones"]]
    else:
        suite["backbones"] = [{**backbone, "weights": "none"} for backbone in suite["backbones"]]
    return suite


def ran(suite: dict[str, Any], tmp_path: Path) -> list[dict[str, Any]]:
    """The rows, all of them good; skipped are weights of networks that differ, and means of members without weight.

    Of ten pictures of noise a member may well get none right.
    """
    where = {"out": tmp_path / "out", "store": tmp_path / "store", "plugins": [SMALL]}
    rows = list(finefuse.run(suite, executor="serial", device="cpu", quiet=True, **where).rows)
    assert [(row["cell"], row["reason"]) for row in rows if row["status"] not in ("ok", "skipped")] == []
    across = {name for name, pool in suite.get("pools", {}).items() if "backbones" in pool}
    for row in rows:
        if row["status"] == "skipped" and "no member has a positive weight" not in row["reason"]:
            assert (row["level"], row["pool"] in across) == ("weight", True), (row["cell"], row["reason"])
    return rows


def covered(suite: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Every line and every pool of the suite has a good row."""
    good = [row for row in rows if row["status"] == "ok"]

    def called(key: str) -> set[str]:
        return {item if isinstance(item, str) else item.get("as", item["use"]) for item in suite[key]}

    tuned, fused = ([row for row in good if row["kind"] == kind] for kind in ("tune", "fuse"))
    assert {row["label"] for row in tuned} == called("schemes")
    assert {row["backbone"] for row in tuned} == called("backbones")
    assert {row["label"] for row in fused} == called("fusions")
    assert {row["pool"] for row in fused} == set(suite["pools"])


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("name", NAMES)
def test_every_line_runs_on_a_fake(name: str, tmp_path: Path) -> None:
    suite = cut_down(name)
    suite["datasets"] = suite["datasets"][-1:]
    covered(suite, ran(suite, tmp_path))


@pytest.mark.usefixtures("fakes")
def test_every_data_set_of_vtab_mini_is_read(tmp_path: Path) -> None:
    suite = cut_down("vtab-mini") | {"schemes": ["linear-probe"], "fusions": [], "pools": {}}
    suite["backbones"] = suite["backbones"][:1]
    rows = ran(suite, tmp_path)
    assert {row["dataset"] for row in rows if row["kind"] == "tune"} == {data["as"] for data in suite["datasets"]}


def settled_inception(file: Path) -> Path:
    """Random weights with BatchNorm's statistics of noise; without them its features are too large for any method."""
    import torch
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    model = inception_v3(weights=None, init_weights=True, aux_logits=False)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(16, 3, 139, 139))
    torch.save(model.state_dict(), file)
    return file


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("name", NAMES)
def test_every_line_runs_on_a_fake_with_the_real_networks(name: str, tmp_path: Path) -> None:
    suite = cut_down(name, small=False)
    suite["datasets"] = suite["datasets"][-1:]
    for backbone in suite["backbones"]:
        if backbone["model"] == "inception_v3":
            del backbone["weights"]
            backbone["file"] = str(settled_inception(tmp_path / "inception.pth"))
    covered(suite, ran(suite, tmp_path))
