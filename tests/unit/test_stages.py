"""Stages that follow a fusion: what each changes, worked out by hand; what it sees; who pays; what may follow what."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import finefuse
from finefuse import api, nets
from finefuse.discovery import capabilities
from finefuse.engine.store.artifacts import Artifacts
from finefuse.types import Fusing
from finefuse_zoo.fusions.adamerging import AdaMerging
from helpers.crossing import TINY, only, splits
from helpers.stages import PLAIN, SUITE, Stage, Stages
from helpers.tasks import two_tasks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return ran(tmp_path_factory.mktemp("stages"), SUITE)


def ran(folder: Path, suite: dict[str, Any]) -> SimpleNamespace:
    where = {"out": folder / "out", "store": folder / "store"}
    plugins = [TINY, Stages()]
    run = finefuse.run(suite, plugins=plugins, **where, device="cpu", workers=0, quiet=True)
    return SimpleNamespace(rows=run.rows, board=run.board, store=Artifacts(folder / "store"), folder=folder)


def fused(run: SimpleNamespace, label: str, **wanted: Any) -> dict:
    return only(run.rows, kind="fuse", label=label, **wanted)


def weights(run: SimpleNamespace, label: str) -> dict[str, Tensor]:
    return run.store.weights(fused(run, label)["artifact"])


def first_outputs(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Of the first convolution of tests/fixtures/plugins/tiny.py, by channel."""
    weight, bias = state["stages.0.0.weight"], state["stages.0.0.bias"]
    return nn.functional.conv2d(x, weight, bias, padding=1).transpose(0, 1).flatten(1)


def features(state: dict[str, Tensor], x: Tensor) -> Tensor:
    for stage, options in ((0, {"padding": 1}), (1, {"stride": 2})):
        x = nn.functional.conv2d(x, state[f"stages.{stage}.0.weight"], state[f"stages.{stage}.0.bias"], **options)
        norm = [state[f"stages.{stage}.1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = nn.functional.batch_norm(x, *norm).relu()
    return x.mean((2, 3))


# ------------------------------------------------------------------------------------------------- what each does


def test_statistics_are_those_of_the_training_inputs_and_nothing_else_changes(run):
    before, after = weights(run, "plain"), weights(run, "calibrated")
    seen = first_outputs(before, splits(images=True).train.x)
    assert torch.allclose(after["stages.0.1.running_mean"], seen.mean(1), atol=1e-5)
    assert torch.allclose(after["stages.0.1.running_var"], seen.var(1), atol=1e-5)
    assert not torch.allclose(before["stages.0.1.running_mean"], seen.mean(1), atol=1e-3)
    assert all(torch.equal(before[name], after[name]) for name in before if "running" not in name)


def test_heads_are_fitted_to_the_features_of_the_merged_body(run):
    state, train = weights(run, "plain"), splits(images=True).train
    x = features(state, train.x).double().numpy()
    fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, train.y.numpy())
    probed = weights(run, "probed")
    assert np.allclose(probed["head.weight"], fitted.coef_, atol=1e-4)
    assert np.allclose(probed["head.bias"] - probed["head.bias"].mean(), fitted.intercept_, atol=1e-4)
    assert all(torch.equal(state[name], probed[name]) for name in state if not name.startswith("head"))


def test_stages_run_one_after_the_other(run):
    plain, probed = weights(run, "plain"), weights(run, "probed")
    assert torch.equal(weights(run, "doubled")["head.weight"], 4 * plain["head.weight"])
    assert torch.equal(weights(run, "in order")["head.weight"], 4 * probed["head.weight"])


def test_steps_of_all_stages_are_billed_each_with_a_trainer_of_its_own(run):
    row = fused(run, "trained")
    assert (row["steps"], row["gradients"]) == (2 * (3 + 2), 2 * 3)
    assert row["seconds_members"] == fused(run, "plain")["seconds_members"]
    assert row["seconds"] > 0


def test_a_stage_is_part_of_every_trial(run):
    tried = [row for row in run.rows if row["kind"] == "trial" and row["label"] == "found"]
    assert [row["followed_by"] for row in tried] == [["times"], ["times"]]
    assert fused(run, "found")["outputs"] in {row["outputs"] for row in tried}


def test_lambdas_start_at_one_and_the_first_step_of_adam_moves_each_by_the_rate():
    of = two_tasks()
    merged = nets.averaged(of.members, [0.5, 0.5], None)
    stay = AdaMerging(steps=0, recalibrate=False).follow(copy.deepcopy(merged), of)
    for name, p in merged.stages.named_parameters():
        assert torch.allclose(stay.stages.get_parameter(name), p, atol=1e-7)
    moved = AdaMerging(steps=1, lr=0.1, recalibrate=False).follow(copy.deepcopy(merged), of)
    before, after = (entropy(of, net) for net in (merged, moved))
    assert after < before
    for name, p in merged.stages.named_parameters():
        start = of.base.stages.get_parameter(name)
        found = [1 + sign * 0.1 for sign in (-1, 1)]
        expected = [start + share * (p - start) for share in found]
        assert any(torch.allclose(moved.stages.get_parameter(name), one, atol=1e-5) for one in expected)
    for member in of.members:
        assert torch.equal(nets.for_member(moved, member).head.weight, member.net.head.weight)


def entropy(of: Fusing, net: nn.Module) -> float:
    total = 0.0
    for member in of.members:
        with torch.no_grad():
            logp = nets.for_member(net, member)(member.test_inputs).log_softmax(-1)
        total -= float((logp.exp() * logp).sum(-1).mean())
    return total


# ------------------------------------------------------------------------------------------------- what each sees


def test_what_each_stage_saw_is_in_rows_on_the_board_and_on_the_card(run):
    told = {
        "calibrated": (["recalibrate"], ["unlabelled"]),
        "probed": (["probe-heads"], ["labelled"]),
        "in order": (["times", "probe-heads", "times(by=4)"], ["none", "labelled", "none"]),
        "adapted": (["adamerging(steps=2)"], ["test inputs"]),
    }
    lines = run.board.lines.set_index("strategy")
    for label, (stages, saw) in told.items():
        row = fused(run, label)
        assert (row["followed_by"], row["saw"]) == (stages, saw)
        pairs = [f"{stage} ({what})" for stage, what in zip(stages, saw, strict=True)]
        assert lines.loc[label, "followed_by"] == ", ".join(pairs)
    assert lines.loc["plain", "followed_by"] == ""
    assert "followed_by" not in fused(run, "plain")
    assert run.board.scores().set_index("strategy").loc["adapted", "followed_by"] == "adamerging(steps=2) (test inputs)"
    assert "| recalibrate (unlabelled) " in run.board.to_markdown()
    assert "transductive" in " ".join(run.board.notes)
    assert fused(run, "adapted")["needs"] == ["train", "base", "trainer", "test inputs"]


def test_labels_are_withheld_from_what_says_that_it_uses_none(run):
    assert fused(run, "reads labels")["status"] == "failed"
    assert "reads labels, and says `uses_labels = False`" in fused(run, "reads labels")["reason"]
    assert "trains on labels, and says `uses_labels = False`" in fused(run, "fits")["reason"]
    assert fused(run, "is honest")["outputs"] == fused(run, "plain")["outputs"]
    assert "the stage broken gives a Net, and this time gave Identity()" in fused(run, "no network")["reason"]


@pytest.mark.parametrize(
    ("needs", "labels", "saw"),
    [
        ((), True, "none"),
        (("base",), True, "none"),
        (("trainer",), True, "labelled"),
        (("trainer",), False, "none"),
        (("train",), False, "unlabelled"),
        (("val", "test inputs"), True, "labelled and test inputs"),
        (("trainer", "test inputs"), False, "test inputs"),
    ],
)
def test_what_is_seen_follows_from_what_is_declared(needs, labels, saw):
    cls = type("Seen", (Stage,), {"needs": needs, "uses_labels": labels})
    assert capabilities.saw(cls()) == saw


# ------------------------------------------------------------------------------------------------- files, latency, keys


def test_exports_have_the_stages_in_them(run):
    file = run.folder / "probed.safetensors"
    api.export(run.folder / "out", "probed", to=file, store=run.folder / "store", plugins=[TINY, Stages()])
    assert torch.equal(load_file(file)["head.weight"], weights(run, "probed")["head.weight"])
    assert "- **followed by** probe-heads (data seen: labelled)" in file.with_name(f"{file.name}.md").read_text()


# ------------------------------------------------------------------------------------------------- across data sets


@pytest.fixture(scope="module")
def across(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    pool = {"of": ["full"], "datasets": "*"}
    policies = ("averaged", "shared", "per-task")
    changes = {
        "datasets": [{"use": "points", "images": True}, {"use": "points", "images": True, "outputs": 4, "centres": 7}],
        "fusions": [
            "soup",
            *(
                PLAIN | {"as": policy, "followed_by": [{"use": "recalibrate", "statistics": policy}]}
                for policy in policies[1:]
            ),
            PLAIN | {"as": "by the pool", "followed_by": ["recalibrate"]},
            PLAIN
            | {"as": "all", "rounds": 2, "followed_by": ["probe-heads", {"use": "adamerging", "steps": 2}, "times"]},
        ],
        "pools": {policy: pool | {"statistics": policy} for policy in policies},
    }
    return ran(tmp_path_factory.mktemp("across"), SUITE | changes)


def test_statistics_of_several_tasks_are_renewed_by_policy(across):
    for policy in ("shared", "per-task"):
        merged = fused(across, "soup", pool=policy)
        for pool in ("averaged", "shared", "per-task"):
            row = fused(across, policy, pool=pool)
            assert (row["outputs"], row["statistics"]) == (merged["outputs"], policy)
        assert fused(across, "by the pool", pool=policy)["outputs"] == merged["outputs"]
    assert fused(across, "by the pool", pool="averaged")["statistics"] == "shared"


def test_all_stages_serve_several_tasks_and_rounds(across):
    for pool in ("averaged", "shared", "per-task"):
        for number in (0, 1):
            row = fused(across, "all", pool=pool, round=number)
            assert (row["status"], row["saw"]) == ("ok", ["labelled", "test inputs", "none"])
        state = across.store.weights(fused(across, "all", pool=pool, round=0)["artifact"])
        plain = across.store.weights(fused(across, "soup", pool=pool)["artifact"])
        assert not torch.equal(state["head.weight"], plain["head.weight"])
