"""BatchNorm in merged bodies of several tasks: whose statistics they have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import finefuse
from finefuse import nets
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError
from finefuse.types import Ref
from helpers.crossing import MANY, TASKS, TINY, accuracy, fused, ran, splits

ONE, OTHER = "points(images=true)", "points(centres=7, images=true, outputs=4)"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Networks with BatchNorm, fused under each of the policies."""
    pools = {name: TASKS | {"statistics": name} for name in ("averaged", "shared", "per-task")}
    datasets = [{"use": "points", "images": True}, {**MANY, "images": True}]
    changes = {"datasets": datasets, "backbones": [{"use": "tiny", "images": True}], "pools": pools, "latency": []}
    return ran(tmp_path_factory.mktemp("images"), fusions=["soup", "joint-training"], **changes)


def body_of(state: dict[str, torch.Tensor], outputs: int) -> nets.Net:
    net = Registry((TINY,)).build("backbone", Ref.of("tiny", images=True)).build(splits(images=True).task)
    net.head = nn.Linear(6, outputs)
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize("policy", ["averaged", "shared", "per-task"])
def test_batchnorm_has_the_statistics_that_the_policy_says(images, policy):
    row = fused(images, "soup", pool=policy)
    assert row["statistics"] == policy
    datasets = {row["dataset"]: row for row in images.rows if row["kind"] == "tune"}
    (one, two), scores = datasets, []
    states = [images.store.weights(datasets[name]["artifact"]) for name in (one, two)]
    mean = {n: (states[0][n] + states[1][n]) / 2 for n in states[0] if "stages" in n and "num" not in n}
    data = [splits(images=True), splits(images=True, outputs=4, centres=7)]
    for name, state, own in zip((one, two), states, data, strict=True):
        net = body_of(state | mean, own.task.outputs)
        if policy != "averaged":
            together = torch.cat([part.train.x for part in data])
            order = torch.randperm(len(together), generator=torch.Generator().manual_seed(0))
            nets.recalibrate(net, own.train.x if policy == "per-task" else together[order])
        with torch.no_grad():
            scores.append(accuracy(net(own.test.x), own.test.y))
        assert row[f"task.{name}.test.accuracy"] == pytest.approx(scores[-1], abs=0.012)  # one of 90 may be on the edge


def test_one_file_for_all_tasks_has_the_statistics_of_each(images, tmp_path):
    where = {"store": images.folder / "store", "plugins": TINY, "pool": "per-task"}
    outputs, x = {}, splits(images=True).test.x[:4]
    for name, more in {"all": {"all_tasks": True}, "one": {"task": ONE}, "other": {"task": OTHER}}.items():
        finefuse.export(images.folder / "out", "soup", tmp_path / f"{name}.pt2", **more, **where)
        outputs[name] = torch.export.load(tmp_path / f"{name}.pt2").module()(x)
    assert torch.allclose(outputs["all"], torch.cat([outputs["one"], outputs["other"]], -1), atol=1e-5)
    with pytest.raises(FinefuseError, match="have more than heads of their own; export it to a"):
        finefuse.export(images.folder / "out", "soup", tmp_path / "x.safetensors", all_tasks=True, **where)


def test_the_policies_differ_and_are_a_column(images):
    rows = [fused(images, "soup", pool=name) for name in ("averaged", "shared", "per-task")]
    assert len({row["outputs"] for row in rows}) == 3
    assert fused(images, "joint-training", pool="shared")["statistics"] == "trained"
    lines = images.board.lines
    assert set(lines["statistics"][lines["pool"] != ""]) == {"averaged", "shared", "per-task", "trained"}
    assert "| BatchNorm" in images.board.to_markdown()


def test_trained_statistics_need_no_second_training(images):
    rows = [fused(images, "joint-training", pool=name) for name in ("averaged", "per-task")]
    assert len({row["outputs"] for row in rows}) == 1
