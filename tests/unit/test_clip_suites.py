"""The built-in suites of CLIP: what they promise, their plan, and, slow, a run with a tiny CLIP on fakes."""

from __future__ import annotations

import importlib.machinery
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import finefuse

pytest.importorskip("transformers", reason="transformers is not installed")
from helpers.clips import SIDE, clip
from helpers.suites import text_of

ROOT = Path(__file__).parents[2]
COUNTS = {"clip-8": 8, "clip-14": 14, "clip-20": 20}


class ClassLabel:
    """What the hub's data sets say of their classes."""

    names = ("a", "b")


class Split:
    """Pictures of noise of two classes, in columns of any name."""

    features: ClassVar[dict[str, Any]] = {"label": ClassLabel(), "cls": ClassLabel()}
    column_names = ("image", "label", "jpg", "cls")

    def __len__(self) -> int:
        return 24

    def __getitem__(self, row: int) -> dict[str, Any]:
        pixels = np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        return dict.fromkeys(("image", "jpg"), Image.fromarray(pixels)) | dict.fromkeys(("label", "cls"), row % 2)

    def unique(self, _: str) -> Sequence[int]:
        return (0, 1)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that stands in for `datasets`."""
    fake: Any = ModuleType("datasets")
    fake.__spec__ = importlib.machinery.ModuleSpec("datasets", None)
    fake.ClassLabel, fake.load_dataset = ClassLabel, lambda *_, **__: Split()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", COUNTS)
def test_they_are_planned_and_say_what_was_not_run(name: str) -> None:
    assert ("NOT YET RUN" in text_of(name)) != (ROOT / "results" / name / "leaderboard.md").exists()
    plan = finefuse.plan(ROOT / "suites" / f"{name}.toml")
    suite = plan.suite
    assert len(suite.datasets) == len(suite.schemes) == COUNTS[name]
    assert [line.datasets for line in suite.schemes] == [(ref,) for ref in suite.datasets]
    assert (suite.settings.budget.steps, suite.settings.budget.batch_size) == (4000, 32)
    pools = [job for job in plan.jobs if job.kind == "pool"]
    assert {len(job.fused) for job in pools} == {COUNTS[name]}
    assert len(pools) == 3 * 3  # towers and seeds
    assert [job.skip for job in plan.jobs if job.skip] == []


def test_each_suite_has_the_data_sets_of_the_smaller_one() -> None:
    names = [[data["as"] for data in tomllib.loads(text_of(name))["datasets"]] for name in COUNTS]
    assert names[0] == names[1][:8]
    assert names[1] == names[2][:14]


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_every_line_runs_with_a_tiny_clip(name: str, tmp_path: Path) -> None:
    suite = tomllib.loads(text_of(name))
    tower = str(clip(tmp_path / "tiny"))
    suite |= {"seeds": [0], "budget": {"steps": 1, "batch_size": 4}, "precision": "fp32"}
    suite["datasets"] = [{**data, "classes": 2, "size": SIDE} for data in suite["datasets"]]
    suite["backbones"] = [{"use": "clip", "as": "tiny", "path": tower, "weight_decay": 0.0}]
    for scheme in suite["schemes"]:
        scheme["of"]["k"] = 4  # patches and three blocks
    where: dict[str, Any] = {"out": tmp_path / "out", "store": tmp_path / "store"}
    rows = finefuse.run(suite, executor="serial", device="cpu", quiet=True, **where).rows
    assert [(row["cell"], row["reason"]) for row in rows if row["status"] != "ok"] == []
    assert len({row["label"] for row in rows if row["kind"] == "fuse"}) == len(suite["fusions"])
