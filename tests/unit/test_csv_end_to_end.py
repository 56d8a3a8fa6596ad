"""csv tables and texts through a whole suite: networks pretrained on another file, schemes, fusions and metrics."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import finefuse
from finefuse_zoo.datasets.csv_table import CsvTable
from helpers.loading import loaded

EXAMPLE = Path(__file__).parents[2] / "examples" / "text"
DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "text"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of the data a backbone is pretrained on are relative to where one is."""
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def scores(**suite: Any) -> dict[str, dict[str, float]]:
    """Test scores by scheme or fusion; no job may fail or be skipped."""
    plain = {"name": "x", "seeds": [0], "latency": [], "checkpoints": 0, "pools": {"all": {"of": ["full", "lp-ft"]}}}
    run = finefuse.run({**plain, **suite}, device="cpu", workers=0, quiet=True, out="results", store="store")
    assert [(row["status"], row["reason"]) for row in run.rows if row["status"] != "ok"] == []
    return {row["label"]: row for row in run.rows if row["kind"] in ("tune", "fuse")}


def prices(name: str, n: int, seed: int) -> str:
    """Price = 100 + 30 a - 20 b, and noise of 5."""
    a, b, noise = np.random.default_rng(seed).normal(size=(3, n))
    rows = [f"{a[i]};{b[i]};house {i};{100 + 30 * a[i] - 20 * b[i] + 5 * noise[i]}" for i in range(n)]
    Path(name).write_text("a;b;house;price\n" + "\n".join(rows) + "\n")
    return name


def test_a_table_of_numbers_goes_through_a_suite() -> None:
    said = {"use": "csv", "target": "price", "kind": "regression", "separator": ";", "centre": 100.0, "spread": 40.0}
    target = said | {"train": prices("few.csv", 60, 0), "test": prices("test.csv", 200, 1), "val": 15}
    source = said | {"train": prices("many.csv", 400, 2)}
    found = scores(
        datasets=[target],
        backbones=[
            {"use": "mlp-table", "width": 16, "pretrained_on": source, "pretrain_epochs": 15, "pretrain_lr": 0.01}
        ],
        metrics=["rmse", "mae", "r2"],
        schemes=[{"use": "full", "lr": 0.01, "as": "full"}, "lp-ft", "scratch"],
        fusions=["mean", "stacking", "soup"],
        budget={"epochs": 15, "batch_size": 16},
    )
    assert set(found) == {"full", "lp-ft", "scratch", "mean", "stacking", "soup"}
    for label in ("full", "lp-ft", "mean"):
        assert found[label]["test.rmse"] * 40 < 12, label  # no method can undercut the noise of 5
        assert found[label]["test.r2"] > 0.85, label
        assert 0 < found[label]["test.mae"] <= found[label]["test.rmse"]
    assert found["scratch"]["test.rmse"] > found["full"]["test.rmse"]


def reviews(name: str, n: int, classes: list[tuple[str, ...]], seed: int) -> str:
    """One word of each class's own decides; the rest is noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        words = [f"w{rng.integers(30)}" for _ in range(4)]
        words[rng.integers(4)] = str(rng.choice(classes[i % len(classes)]))
        rows.append(f"{i % len(classes)}\t{' '.join(words)}")
    Path(name).write_text("label\ttext\n" + "\n".join(rows) + "\n")
    return name


def test_texts_go_through_a_suite_with_what_another_file_has_taught() -> None:
    good, bad = ("fine", "rich", "warm"), ("dull", "flat", "poor")
    said = {"use": "csv", "target": "label", "text": "text", "max_tokens": 6, "vocabulary": 500}
    target = said | {"train": reviews("few.tsv", 120, [bad, good], 0), "shots": 8, "val": 10}
    source = said | {"train": reviews("many.tsv", 600, [good[:2], good[2:], bad[:2], bad[2:]], 1)}
    shape = {"vocabulary": 500, "dim": 16, "filters": 16, "widths": [1, 2], "pretrain_epochs": 8, "pretrain_lr": 0.01}
    found = scores(
        datasets=[target],
        backbones=[{"use": "text-cnn", "pretrained_on": source, **shape}],
        metrics=["accuracy", "macro-f1"],
        schemes=["full", "lp-ft", "linear-probe"],
        fusions=["vote", "mean-probs", "stacking", "soup", "greedy-soup", "concat-features"],
        budget={"epochs": 6, "batch_size": 8},
    )
    assert len(found) == 9
    assert found["linear-probe"]["test.accuracy"] > 0.8  # eight texts of each kind don't name all the words
    assert all(0 < row["test.macro-f1"] <= 1 and math.isfinite(row["test.accuracy"]) for row in found.values())


# --------------------------------------------------------------------------------------------------- examples/text


@pytest.fixture(scope="module")
def prepare() -> Any:
    return loaded(EXAMPLE / "prepare.py")


def test_questions_become_a_table(prepare: Any) -> None:
    raw = b"DESC:manner How  did it ?\nLOC:other Where is Cura\xe7ao ?\r\n\n"
    expected = "label\tfine\tsentence\nDESC\tmanner\tHow did it ?\nLOC\tother\tWhere is Curaçao ?\n"
    assert prepare.table(raw) == expected
    with pytest.raises(ValueError, match="line 2 is not of the form LABEL:fine question: 'How did it"):
        prepare.table(b"DESC:x y\nHow did it ?\n")


@pytest.mark.skipif(not (DATA / "trec").is_dir(), reason=f"there is no {DATA / 'trec'}")
def test_trec_is_six_classes_of_questions(prepare: Any) -> None:
    for name, target in (("train_5500.label", "train.tsv"), ("TREC_10.label", "test.tsv")):
        Path(target).write_text(prepare.table((DATA / "trec" / name).read_bytes()), encoding="utf-8")
    dataset = CsvTable(Path("train.tsv"), "label", test=Path("test.tsv"), text="sentence", val=10, shots=50)
    splits = dataset.splits(0)
    assert dataset.task.outputs == 6
    assert [len(splits.train), len(splits.val), len(splits.test)] == [300, 60, 500]


@pytest.mark.parametrize("name", ["trec", "sst2"])
def test_the_suites_can_be_planned_with_files_of_that_form(name: str) -> None:
    for folder, labels in (("trec", "ABCDEF"), ("sst2", "01")):
        Path("data", folder).mkdir(parents=True)
        rows = [f"{labels[i % len(labels)]}\tword {i}" for i in range(60)]
        for part in ("train", "test", "dev"):
            Path("data", folder, f"{part}.tsv").write_text("label\tsentence\n" + "\n".join(rows) + "\n")
    suite = Path(f"{name}.toml")
    suite.write_text((EXAMPLE / suite.name).read_text())
    planned = finefuse.plan(suite, device="cpu")
    datasets, schemes, fusions, seeds = {"trec": 2, "sst2": 1}[name], 9, 6, 5
    tuned = [job for job in planned.jobs if job.kind == "tune"]
    fused = [job for job in planned.jobs if job.kind == "fuse"]
    assert len(tuned) == datasets * 2 * seeds * (schemes + 2)  # two more copies of `full`
    assert len(fused) == datasets * 2 * seeds * fusions * 2
