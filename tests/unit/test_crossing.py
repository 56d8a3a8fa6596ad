"""Pools across data sets: bodies are merged, every task keeps its head, and each row is worked out again by hand."""

from __future__ import annotations

import json
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import finefuse
from finefuse.declare import jobs
from finefuse.engine.work import crossing
from finefuse.errors import FinefuseError
from finefuse_zoo.fusions.joint_training import JointTraining
from helpers.crossing import MANY, ONE, OTHER, SUITE, TASKS, TINY, accuracy, fused, only, ran, splits
from helpers.runs import steady


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return ran(tmp_path_factory.mktemp("tasks"))


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Outputs of the tabular network of tests/fixtures/plugins/tiny.py."""
    for name in ("stages.0.0", "stages.1.0"):
        x = nn.functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
    return nn.functional.linear(x, state["head.weight"], state["head.bias"])


def test_the_average_is_that_of_the_bodies_and_every_task_keeps_its_head(run):
    tuned = {name: only(run.rows, kind="tune", dataset=name, round=0) for name in (ONE, OTHER)}
    states = {name: run.store.weights(row["artifact"]) for name, row in tuned.items()}
    body = {name: (states[ONE][name] + states[OTHER][name]) / 2 for name in states[ONE] if "stages" in name}
    ratios = []
    for name, params in ((ONE, {}), (OTHER, {"outputs": 4, "centres": 7})):
        test = splits(**params).test
        mine = {k: v for k, v in states[name].items() if k.startswith("head")}
        score = accuracy(by_hand(body | mine, test.x), test.y)
        assert fused(run, "soup")[f"task.{name}.test.accuracy"] == pytest.approx(score)
        assert fused(run, "soup")[f"task.{name}.own.accuracy"] == tuned[name]["test.accuracy"]
        ratios.append(score / tuned[name]["test.accuracy"])
    assert fused(run, "soup")["test.normalised"] == pytest.approx(sum(ratios) / 2)
    assert fused(run, "soup")["metrics"] == ["normalised", "accuracy"]


def test_task_arithmetic_adds_to_the_shared_start(run):
    pretrained = only(run.rows, kind="pretrain")
    base = run.store.weights(pretrained["artifact"])
    states = [run.store.weights(only(run.rows, kind="tune", dataset=d, round=0)["artifact"]) for d in (ONE, OTHER)]
    made = run.store.weights(fused(run, "task-arithmetic(scaling=0.4)")["artifact"])
    for name in (name for name in states[0] if "stages" in name):
        expected = base[name] + 0.4 * sum(state[name] - base[name] for state in states)
        assert torch.allclose(made[name], expected, atol=1e-6)


def test_every_row_is_worked_out_again_from_the_rows_of_the_own_models(run):
    own = {name: only(run.rows, kind="tune", dataset=name, round=0)["test.accuracy"] for name in (ONE, OTHER)}
    done = [row for row in run.rows if row["kind"] == "fuse" and row["status"] == "ok"]
    assert len(done) == 11
    for row in done:
        scores = {name: row[f"task.{name}.test.accuracy"] for name in own}
        assert row["test.normalised"] == pytest.approx(sum(scores[name] / own[name] for name in own) / 2)
        assert row["test.accuracy"] == pytest.approx(sum(scores.values()) / 2)
        assert (row["n_test"], row["repeated"]) == (180, 0)
    bounds = only(run.rows, kind="pool")
    assert (bounds["single.test.normalised"], bounds["single.test.accuracy"]) == (1.0, sum(own.values()) / 2)


def test_the_untouched_body_has_the_tuned_heads(run):
    base = run.store.weights(only(run.rows, kind="pretrain")["artifact"])
    for name, params in ((ONE, {}), (OTHER, {"outputs": 4, "centres": 7})):
        tuned, test = only(run.rows, kind="tune", dataset=name, round=0), splits(**params).test
        head = {k: v for k, v in run.store.weights(tuned["artifact"]).items() if k.startswith("head")}
        score = accuracy(by_hand({k: v for k, v in base.items() if "stages" in k} | head, test.x), test.y)
        assert only(run.rows, kind="pool")[f"task.{name}.untouched.accuracy"] == pytest.approx(score)


def test_own_members_are_the_own_models_and_carry_all_of_them(run):
    row = fused(run, "own-members")
    tuned = [only(run.rows, kind="tune", dataset=d, round=0) for d in (ONE, OTHER)]
    assert row["test.normalised"] == 1.0
    assert row["parameters"] == sum(one["parameters"] for one in tuned)
    body = tuned[0]["parameters"] - (6 * 3 + 3)
    assert fused(run, "soup")["parameters"] == body + (6 * 3 + 3) + (6 * 4 + 4)
    assert fused(run, "soup")["flops"] == max(one["flops"] for one in tuned)


def test_joint_training_is_billed_for_itself_alone(run):
    joint, soup = fused(run, "joint-training"), fused(run, "soup")
    assert (joint["steps"], joint["seconds_members"]) == (math.ceil(3 * 96 / 16), 0)
    assert soup["seconds_members"] == pytest.approx(
        sum(only(run.rows, kind="tune", dataset=d, round=0)["seconds"] for d in (ONE, OTHER))
    )
    assert joint["outputs"] != soup["outputs"]


def test_what_was_counted_otherwise_is_counted_again_and_not_trained_again(tmp_path, monkeypatch):
    changes = {"fusions": ["joint-training"], "latency": []}
    with monkeypatch.context() as former:
        former.setattr(jobs, "COUNTED", {"counting of FLOPs": "former"})
        former.setattr(crossing, "COUNTING", "former")
        former.setattr(crossing, "flops_per_example", lambda *_: 1)
        before = fused(ran(tmp_path, **changes), "joint-training")
    monkeypatch.setattr(JointTraining, "fuse", lambda *_: pytest.fail("it was trained again"))
    after = fused(ran(tmp_path, **changes), "joint-training")
    assert (before["flops"], before["seconds"], before["outputs"]) == (1, after["seconds"], after["outputs"])
    assert after["flops"] > 1


def test_what_needs_one_label_space_says_so_before_any_compute(run):
    skipped = {row["label"]: row["reason"] for row in run.rows if row["status"] == "skipped" and row["kind"] == "fuse"}
    assert skipped == {
        "mean-probs": "mean-probs combines outputs of one task, and these have several",
        "repair": "repair is for members of one task, and these have several",
    }


def test_the_coefficient_that_is_best_on_val_is_chosen_and_all_are_billed(run):
    trials = [row for row in run.rows if row["kind"] == "trial" and "wild" not in row["label"]]
    chosen = fused(run, "task-arithmetic")
    own = {d: only(run.rows, kind="tune", dataset=d, round=0)["val.accuracy"] for d in (ONE, OTHER)}
    by_val = [sum(row[f"task.{d}.val.accuracy"] / own[d] for d in own) / 2 for row in trials]
    assert [row["quality"] for row in trials] == pytest.approx(by_val)
    best = max(range(3), key=by_val.__getitem__)
    assert (chosen["trials"], chosen["chosen"]) == (3, {"scaling": [0.0, 0.4, 3.0][best]})
    assert chosen["outputs"] == trials[best]["outputs"]
    assert chosen["at_edge"] == (["scaling"] if best != 1 else [])
    assert chosen["seconds"] == pytest.approx(sum(row["seconds"] for row in trials))
    assert chosen["seconds_members"] == trials[0]["seconds_members"]
    assert trials[1]["artifact"] == fused(run, "task-arithmetic(scaling=0.4)")["artifact"]
    assert f"scaling={[0.0, 0.4, 3.0][best]}" in run.board.to_markdown()


def test_a_value_that_diverges_costs_the_others_nothing(run):
    row = fused(run, "wild")
    assert row["chosen"] == {"scaling": 0.4}
    trials = [one for one in run.rows if one["kind"] == "trial" and "wild" in one["label"]]
    assert [one["quality"] is None for one in trials] == [False, True]
    assert all(one["seconds"] > 0 for one in trials)
    assert row["seconds"] == pytest.approx(sum(one["seconds"] for one in trials))
    assert row["test.normalised"] == fused(run, "task-arithmetic(scaling=0.4)")["test.normalised"]


def test_what_a_method_chooses_by_itself_is_told(run):
    row = fused(run, "wise-ft(a=val)")
    base = run.store.weights(only(run.rows, kind="pretrain")["artifact"])["stages.1.0.weight"]
    tuned = [only(run.rows, kind="tune", dataset=d, round=0)["artifact"] for d in (ONE, OTHER)]
    mean = sum(run.store.weights(artifact)["stages.1.0.weight"] for artifact in tuned) / 2
    a = row["chosen"]["a"]
    assert torch.allclose(run.store.weights(row["artifact"])["stages.1.0.weight"], (1 - a) * base + a * mean, atol=1e-6)
    assert row["at_edge"] == (["a"] if a in (0.0, 1.0) else [])
    assert f"| a={a}" in run.board.to_markdown()


def test_a_file_for_each_task(run, tmp_path):
    for name, params in ((ONE, {}), (OTHER, {"outputs": 4, "centres": 7})):
        file, x = tmp_path / f"{len(params)}.pt2", splits(**params).test.x[:3]
        where = {"store": run.folder / "store", "plugins": TINY}
        made = finefuse.export(run.folder / "out", "soup", file, task=name, round=0, **where)
        state = run.store.weights(fused(run, "soup")["artifact"])
        outputs = torch.export.load(file).module()(x)
        head = "head" if name == ONE else "others.apart.0"
        mine = {"head.weight": state[f"{head}.weight"], "head.bias": state[f"{head}.bias"]}
        assert torch.allclose(outputs, by_hand(state | mine, x), atol=1e-5)
        assert f"{fused(run, 'soup')[f'task.{name}.test.accuracy']:.4f} on test (90 examples)" in made.card.read_text()


def test_one_file_for_all_tasks_is_used_from_its_card_alone(run, tmp_path, monkeypatch):
    where = {"store": run.folder / "store", "plugins": TINY}
    made = finefuse.export(run.folder / "out", "soup", tmp_path / "all.pt2", all_tasks=True, round=0, **where)
    state = run.store.weights(fused(run, "soup")["artifact"])
    x = splits().test.x[:5]
    each = []
    for head in ("head", "others.apart.0"):
        mine = {"head.weight": state[f"{head}.weight"], "head.bias": state[f"{head}.bias"]}
        each.append(by_hand(state | mine, x))
    assert torch.allclose(torch.export.load(tmp_path / "all.pt2").module()(x), torch.cat(each, -1), atol=1e-5)
    card = made.card.read_text()
    for name, columns in ((ONE, "0 to 2"), (OTHER, "3 to 6")):
        score = fused(run, "soup")[f"task.{name}.test.accuracy"]
        assert f"- **task** {name}: outputs {columns}, logits" in card
        assert f"accuracy {score:.4f} on test (" in card
        assert f"- **checked** {name}, made again: within" in card
    assert "- **members** full on points, full on points(" in card
    told, names = json.loads(card.split("```json")[1].split("```")[0]), {}
    assert [told["outputs"][name]["columns"] for name in (ONE, OTHER)] == [[0, 3], [3, 7]]
    monkeypatch.chdir(tmp_path)
    for name in ("finefuse", "finefuse_zoo"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    exec(card.split("```python")[1].split("```")[0], names)
    assert names["outputs"][0].tolist() == pytest.approx(told["example"]["outputs"], abs=1e-4)


def test_weights_of_all_tasks_are_one_body_and_its_heads(run, tmp_path):
    where = {"store": run.folder / "store", "plugins": TINY}
    finefuse.export(run.folder / "out", "soup", tmp_path / "all.safetensors", all_tasks=True, round=0, **where)
    kept, state = load_file(tmp_path / "all.safetensors"), run.store.weights(fused(run, "soup")["artifact"])
    assert kept["head.heads.1.weight"].equal(state["others.apart.0.weight"])
    assert kept["stages.0.0.weight"].equal(state["stages.0.0.weight"])
    with pytest.raises(FinefuseError, match="have more than heads of their own; export it to a"):
        finefuse.export(run.folder / "out", "own-members", tmp_path / "x.safetensors", all_tasks=True, **where)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["all.safetensors", "all.safetensors.md"]


def test_members_apart_are_one_file_too(run, tmp_path):
    where = {"store": run.folder / "store", "plugins": TINY}
    finefuse.export(run.folder / "out", "own-members", tmp_path / "own.pt2", all_tasks=True, **where)
    x = splits().test.x[:5]
    tuned = [only(run.rows, kind="tune", dataset=d, round=0)["artifact"] for d in (ONE, OTHER)]
    outputs = torch.cat([by_hand(run.store.weights(artifact), x) for artifact in tuned], -1)
    assert torch.allclose(torch.export.load(tmp_path / "own.pt2").module()(x), outputs, atol=1e-5)


@pytest.mark.parametrize(
    ("label", "more", "sentence"),
    [
        ("soup", {"task": ONE}, "--task is for one of several tasks, and --all-tasks for all: give one of them"),
        (f"tune/{ONE}/tiny/full//s0/m0/r0", {}, "is for one task; leave out --all-tasks"),
    ],
)
def test_all_tasks_are_asked_for_where_there_are_several(run, tmp_path, label, more, sentence):
    with pytest.raises(FinefuseError) as caught:
        finefuse.export(run.folder / "out", label, tmp_path / "x.pt2", all_tasks=True, round=0, **more)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("label", "task", "sentence"),
    [
        ("soup", None, f"serves several tasks, one file for each: --task names one of '{ONE}', '{OTHER}', or --all"),
        ("soup", "point", "has no task 'point'; did you mean 'points'?"),
        (f"tune/{ONE}/tiny/full//s0/m0/r0", ONE, "is for one task; leave out --task"),
    ],
)
def test_which_task_is_exported(run, tmp_path, label, task, sentence):
    with pytest.raises(FinefuseError) as caught:
        finefuse.export(run.folder / "out", label, tmp_path / "x.pt2", task=task, round=0)
    assert sentence in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_round_starts_from_the_merged_body_with_the_own_head(run):
    second = fused(run, "soup", round=1)
    again = [only(run.rows, kind="tune", dataset=d, round=1, label="full after soup") for d in (ONE, OTHER)]
    first = fused(run, "soup")
    assert {row["seconds_before"] for row in again} == {first["seconds"] + first["seconds_members"]}
    assert second["task.points.own.accuracy"] == only(run.rows, kind="tune", dataset=ONE, round=0)["test.accuracy"]
    states = [run.store.weights(row["artifact"]) for row in again]
    made = run.store.weights(second["artifact"])
    assert torch.allclose(
        made["stages.0.0.weight"], (states[0]["stages.0.0.weight"] + states[1]["stages.0.0.weight"]) / 2
    )


def test_the_board_has_a_group_with_scores_by_task(run):
    text = run.board.to_markdown()
    assert f"## {ONE} + {OTHER} · tiny" in text
    assert "| each task's own model" in text
    own, soup = only(run.rows, kind="tune", dataset=ONE, round=0)["test.accuracy"], fused(run, "soup")
    score = soup[f"task.{ONE}.test.accuracy"]
    assert f"{score:.4f} ({score / own:.3f})" in text
    assert "own models, normalised" in text
    assert "| BatchNorm" not in text
    assert {"task.points.score.mean", "task.points.normalised.mean"} <= set(run.board.scores())


def test_errors_are_divided_the_other_way_round(tmp_path):
    run = ran(tmp_path, datasets=["points", "line"], fusions=["soup", "joint-training"], latency=[], pools={"p": TASKS})
    tuned = {name: only(run.rows, kind="tune", dataset=name) for name in ("points", "line")}
    row = fused(run, "soup")
    ratios = [
        row["task.points.test.accuracy"] / tuned["points"]["test.accuracy"],
        tuned["line"]["test.rmse"] / row["task.line.test.rmse"],
    ]
    assert row["test.normalised"] == pytest.approx(sum(ratios) / 2)
    assert row["metrics"] == ["normalised"]
    assert "correct" not in row
    assert fused(run, "joint-training")["status"] == "ok"


def test_random_weights_are_shared_too(tmp_path):
    run = ran(tmp_path, backbones=[{"use": "tiny", "pretrained": False}], fusions=["task-arithmetic"], latency=[])
    assert {row["status"] for row in run.rows} == {"ok"}


def test_unseen_tasks_are_probed_on_the_merged_body(tmp_path):
    third = {"use": "points", "outputs": 5, "centres": 9}
    pool = TASKS | {"held_out": ["points(centres=9, outputs=5)"], "probe": "linear-probe"}
    changes = {"schemes": ["full", "linear-probe"], "datasets": ["points", MANY, third], "pools": {"p": pool}}
    fusions = ["soup", "own-members", {"use": "task-arithmetic", "scaling": 0.0}]
    run = ran(tmp_path, fusions=fusions, **changes, latency=[1])
    assert {row["status"] for row in run.rows} == {"ok"}
    assert {row["dataset"] for row in run.rows if row["kind"] == "fuse"} == {f"{ONE} + {OTHER}"}
    unseen = [row for row in run.rows if row["kind"] == "tune" and row["pool"] == "p"]
    assert {row["label"] for row in unseen} == {
        "linear-probe after soup",
        "linear-probe after task-arithmetic(scaling=0)",
    }
    states = run.store.weights(only(run.rows, kind="fuse", label="soup")["artifact"])
    made = run.store.weights(only(unseen, label="linear-probe after soup")["artifact"])
    assert all(torch.equal(made[name], states[name]) for name in states if "stages" in name)
    assert made["head.weight"].shape == (5, 6)
    plain = only(run.rows, kind="tune", label="linear-probe", dataset="points(centres=9, outputs=5)")
    same = only(unseen, label="linear-probe after task-arithmetic(scaling=0)")
    assert same["outputs"] == plain["outputs"]  # that merge is the pretrained body
    assert len([row for row in run.rows if row["kind"] == "time"]) == 3 * 2 + 3
    lines = run.board.lines
    (line,) = lines[lines["strategy"] == "linear-probe after soup"].to_dict("records")
    spent = only(run.rows, kind="fuse", label="soup")
    own = only(unseen, label="linear-probe after soup")["seconds"]
    assert line["seconds_with_members"] == pytest.approx(own + spent["seconds"] + spent["seconds_members"])


@pytest.mark.slow
def test_workers_change_no_bit(tmp_path, run):
    changes = {"fusions": SUITE["fusions"], "latency": []}
    runs = [ran(tmp_path / str(n), how={"workers": n, "executor": "local"}, **changes) for n in (1, 2)]
    fields = ("outputs", "test.normalised", "test.accuracy", "correct", "quality")
    one, other = ([{f: row.get(f) for f in fields} for row in steady(one.rows)] for one in runs)
    assert one == other
