"""What tuned and merged bodies have forgotten: the pretrained head on them, on the source task's test examples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from finefuse import api, nets
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.loading import split_seed
from finefuse.errors import SuiteError
from finefuse.types import Ref
from helpers.crossing import MANY, SUITE, TASKS, TINY, accuracy, only, ran, splits

IMAGES = {"use": "tiny", "images": True}
SOURCE = Ref.of("points", outputs=5, images=True, centres=1)
CHANGES: dict[str, Any] = {
    "datasets": [{"use": "points", "images": True}, {**MANY, "images": True}],
    "backbones": [IMAGES],
    "fusions": ["soup", "mean-probs"],
    "pools": {"tasks": TASKS | {"statistics": "per-task"}, "two": {"of": ["full"], "copies": 2}},
    "budget": {"epochs": 4, "batch_size": 8},
    "source_test": True,
    "latency": [],
}
HEADED = """
from dataclasses import dataclass
from finefuse import Entry, hookimpl
from finefuse.types import Budget


@dataclass(frozen=True)
class Headed:
    source = None
    head_outputs = 5

    def fingerprint(self):
        return ""

    def budget(self):
        return Budget(epochs=1, batch_size=16)

    def build(self, task):
        from torch import nn
        from finefuse.nets import Net

        first, second = (nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in ((4, 8), (8, 6)))
        return Net([first, second], nn.Linear(6, task.outputs))

    def tune(self, on):
        pass


@hookimpl
def finefuse_backbones():
    yield Entry("headed", Headed, "random weights with a head of five outputs")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return ran(tmp_path_factory.mktemp("source"), **CHANGES)


def source_score(run: SimpleNamespace, artifact: str, *, renewed: bool = False) -> float:
    """The stored body with the head of the pretrained network, put together by hand."""
    dataset = Registry((TINY,)).build("dataset", SOURCE)
    source = dataset.splits(split_seed(SOURCE, 0, dataset))
    net = Registry((TINY,)).build("backbone", Ref.of("tiny", images=True)).build(source.task)
    head = {k: v for k, v in base(run).items() if k.startswith("head.")}
    body = {k: v for k, v in run.store.weights(artifact).items() if k.startswith("stages.")}
    net.load_state_dict(body | head)
    if renewed:
        nets.recalibrate(net, source.train.x)
    with torch.no_grad():
        return accuracy(net.eval()(source.test.x), source.test.y)


def base(run: SimpleNamespace) -> dict[str, torch.Tensor]:
    return run.store.weights(only(run.rows, kind="pretrain")["artifact"])


def test_every_body_is_scored_with_the_pretrained_head(run: SimpleNamespace) -> None:
    assert {row["status"] for row in run.rows} <= {"ok", "skipped"}
    before = source_score(run, only(run.rows, kind="pretrain")["artifact"])
    bodies = [row for row in run.rows if row["kind"] == "tune" or (row["kind"] == "fuse" and row["label"] == "soup")]
    assert len(bodies) == 7
    for row in bodies:
        expected = source_score(run, row["artifact"], renewed=row["pool"] == "tasks")
        assert row["source.accuracy"] == pytest.approx(expected, abs=0.012)  # one of 90 may be on the edge
        assert row["source.before.accuracy"] == pytest.approx(before, abs=0.012)
        assert row["source_data"] == str(SOURCE)
    scores = {row["source.accuracy"] for row in bodies}
    assert scores - {before}, scores


def test_what_is_no_single_body_has_no_such_score(run: SimpleNamespace) -> None:
    others = [row for row in run.rows if row["label"] == "mean-probs" or row["kind"] == "pool"]
    assert others
    assert not any("source.accuracy" in row for row in others)


def test_the_board_has_it_as_a_column(run: SimpleNamespace) -> None:
    lines = run.board.lines
    (line,) = lines[(lines["strategy"] == "soup") & (lines["pool"] == "tasks")].to_dict("records")
    row = only(run.rows, kind="fuse", label="soup", pool="tasks")
    assert line["source.accuracy.mean"] == row["source.accuracy"]
    assert line["source.before.accuracy.mean"] == row["source.before.accuracy"]
    header = next(text for text in run.board.to_markdown().splitlines() if text.startswith("| rank"))
    assert "source ↑" in header
    assert "source.accuracy.mean" in run.board.scores()
    before = f"with the head of that time; before tuning {row['source.before.accuracy']:.4f}"
    assert before in run.board.to_markdown()


def test_stored_networks_are_scored_without_training_again() -> None:
    with_it, without = (
        {job.place: job for job in api.plan(SUITE | CHANGES | more, device="cpu", plugins=TINY).jobs}
        for more in ({}, {"source_test": False})
    )
    assert with_it.keys() == without.keys()
    assert all(with_it[place].artifact == job.artifact for place, job in without.items())
    other = {place.kind for place, job in without.items() if with_it[place].key != job.key}
    assert other == {"tune", "fuse"}


def test_declared_data_is_for_heads_that_have_its_outputs(tmp_path: Path) -> None:
    (tmp_path / "headed.py").write_text(HEADED)
    source = {"use": "points", "outputs": 5, "centres": 1}
    suite = SUITE | {
        "datasets": ["points"],
        "backbones": ["headed"],
        "fusions": [],
        "pools": {},
        "source_test": source,
        "latency": [],
        "budget": {"epochs": 1, "batch_size": 16},
    }
    how = {"device": "cpu", "workers": 0, "quiet": True, "out": tmp_path / "out", "store": tmp_path / "store"}
    rows = api.run(suite, plugins=[TINY, str(tmp_path / "headed.py")], **how).rows
    row, store = only(rows, kind="tune"), Artifacts(tmp_path / "store")
    test = splits(outputs=5, centres=1).test
    head = store.weights(only(rows, kind="pretrain")["artifact"])
    for artifact, score in ((row["artifact"], row["source.accuracy"]), (None, row["source.before.accuracy"])):
        state = store.weights(artifact) if artifact else head
        x = test.x
        for name in ("stages.0.0", "stages.1.0"):
            x = nn.functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
        outputs = nn.functional.linear(x, head["head.weight"], head["head.bias"])
        assert score == pytest.approx(accuracy(outputs, test.y), abs=0.012)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no data": (
        {"source_test": True, "backbones": [{"use": "tiny", "pretrained": False}]},
        "source_test: no backbone comes with the data it was pretrained on: tiny(pretrained=false)",
    ),
    "no head": (
        {"source_test": {"use": "points", "outputs": 7, "images": True}},
        "source_test: no backbone has a pretrained head for the 7 outputs of points(images=true, outputs=7): tiny",
    ),
    "no data set": ({"source_test": "pints"}, "source_test: "),
    "a number": ({"source_test": 3}, "source_test"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_not_be_scored_is_told(case: str) -> None:
    changes, sentence = WRONG[case]
    with pytest.raises(SuiteError) as caught:
        load_suite(SUITE | CHANGES | changes, Registry((TINY,)))
    assert str(caught.value).startswith(sentence)
