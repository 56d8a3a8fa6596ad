"""Pools across data sets: bodies are merged, every task keeps its head, and each row is worked out again by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import finefuse
from finefuse import nets
from finefuse.declare import plan as plan_module
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.engine.measure.crossing import ratio
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.made import choices_of
from finefuse.errors import FinefuseError, NotApplicable, PluginError, SuiteError
from finefuse.types import Ref
from finefuse_zoo.schemes.frozen_head import FrozenHead
from finefuse_zoo.schemes.linear_probe import LinearProbe
from helpers.runs import FIXTURES, steady
from helpers.tasks import two_tasks

TINY = str(FIXTURES / "plugins" / "tiny.py")
MANY = {"use": "points", "outputs": 4, "centres": 7}
TASKS = {"of": ["full"], "datasets": "*"}
SUITE: dict[str, Any] = {
    "name": "tasks",
    "budget": {"epochs": 3, "batch_size": 16},
    "datasets": ["points", MANY],
    "backbones": ["tiny"],
    "schemes": ["full"],
    "fusions": [
        *({"use": "soup", "rounds": 2}, "own-members", "joint-training", "distill", "mean-probs", "repair"),
        *({"use": "task-arithmetic", "scaling": 0.4}, "git-rebasin", "weighted-soup"),
        {"use": "task-arithmetic", "choose": {"scaling": [0.0, 0.4, 3.0]}},
        {"use": "task-arithmetic", "as": "wild", "choose": {"scaling": [0.4, 3e38]}},
        {"use": "wise-ft", "a": "val"},
    ],
    "pools": {"tasks": TASKS},
    "latency": [1],
    "checkpoints": 0,
}
ONE, OTHER = "points", "points(centres=7, outputs=4)"


def ran(folder: Path, **changes: Any) -> SimpleNamespace:
    how = {"device": "cpu", "workers": 0, "quiet": True} | changes.pop("how", {})
    run = finefuse.run(SUITE | changes, plugins=TINY, out=folder / "out", store=folder / "store", **how)
    return SimpleNamespace(rows=run.rows, board=run.board, store=Artifacts(folder / "store"), folder=folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return ran(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Networks with BatchNorm, fused under each of the policies."""
    pools = {name: TASKS | {"statistics": name} for name in ("averaged", "shared", "per-task")}
    datasets = [{"use": "points", "images": True}, {**MANY, "images": True}]
    changes = {"datasets": datasets, "backbones": [{"use": "tiny", "images": True}], "pools": pools, "latency": []}
    return ran(tmp_path_factory.mktemp("images"), fusions=["soup", "joint-training"], **changes)


def only(rows: list[dict], **wanted: Any) -> dict:
    (found,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


def fused(run: SimpleNamespace, label: str, **wanted: Any) -> dict:
    return only(run.rows, kind="fuse", label=label, **{"round": 0} | wanted)


def splits(**params: Any) -> Any:
    from finefuse.engine.work.loading import split_seed

    dataset = Registry((TINY,)).build("dataset", Ref.of("points", **params))
    return dataset.splits(split_seed(Ref.of("points", **params), 0))


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Outputs of the tabular network of tests/fixtures/plugins/tiny.py."""
    for name in ("stages.0.0", "stages.1.0"):
        x = nn.functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
    return nn.functional.linear(x, state["head.weight"], state["head.bias"])


def accuracy(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return float((outputs.argmax(-1) == y).double().mean())


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


@pytest.mark.parametrize("choice", [{"a": 1.0}, {"a": ("x", True)}, {"a": (1.0, 1)}, {1: (1.0, True)}])
def test_choices_that_make_no_sense(choice):
    with pytest.raises(PluginError, match="a number and True or False were expected"):
        choices_of(replace(two_tasks(), choices=choice))


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


@pytest.mark.parametrize(
    ("label", "task", "sentence"),
    [
        ("soup", None, f"serves several tasks, one file for each: --task names one of '{ONE}', '{OTHER}'"),
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


# ------------------------------------------------------------------------------------------------------- BatchNorm


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


# ---------------------------------------------------------------------------------------------------- mixed kinds


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


@pytest.mark.parametrize(
    ("score", "own", "better", "expected"),
    [(0.8, 0.9, "higher", 8 / 9), (2.0, 1.0, "lower", 0.5), (0.0, 0.0, "lower", 1.0), (0.0, 1.0, "lower", math.inf)],
)
def test_ratio(score: float, own: float, better: str, expected: float) -> None:
    assert ratio(score, own, better) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("score", "own", "better"), [(0.5, 0.0, "higher"), (0.5, -1.0, "higher"), (-1.0, 1.0, "lower")]
)
def test_what_is_no_measure(score: float, own: float, better: str) -> None:
    assert math.isnan(ratio(score, own, better))


# ------------------------------------------------------------------------------------------------------- planning


def planned(**changes: Any) -> Any:
    registry = Registry((TINY,))
    return make_plan(load_suite(SUITE | changes, registry), registry)


@pytest.mark.parametrize("pretrained", [True, False])
def test_all_members_come_from_one_pretrained_network(pretrained):
    plan = planned(backbones=[{"use": "tiny", "pretrained": pretrained}])
    (base,) = {job.artifact for job in plan.jobs if job.kind == "pretrain"}
    assert {job.base for job in plan.jobs if job.kind in ("tune", "fuse", "pool")} == {base}


def test_without_the_pool_each_data_set_makes_its_own_random_network():
    plan = planned(backbones=[{"use": "tiny", "pretrained": False}], pools={"each": {"of": ["full"]}})
    assert len({job.artifact for job in plan.jobs if job.kind == "pretrain"}) == 2


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


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        ({"held_out": ["line"], "probe": "full"}, "held_out: is for pools across data sets; give `datasets` too"),
        ({"datasets": ["points", "line"], "held_out": ["line"]}, "held_out: goes with `probe`"),
        ({"datasets": ["points", "line"], "probe": "full"}, "probe: goes with `held_out`"),
        ({"datasets": "*", "held_out": ["line"], "probe": "ful"}, 'probe: no scheme is called "ful"; did you mean'),
        ({"datasets": "*", "held_out": ["lin"], "probe": "full"}, "held_out[0]: no data set of this suite is called"),
        ({"datasets": ["points", "line"], "held_out": ["line"], "probe": "full"}, "datasets[1]: line is held out"),
        ({"datasets": ["point"]}, "datasets[0]: no data set of this suite is called \"point\"; did you mean 'points'?"),
        ({"datasets": ["line"]}, "datasets: names line alone; a pool across data sets needs two"),
        ({"datasets": "*"}, "datasets: points has tabular inputs of shape (4,) and points(images=true) image inputs"),
        (
            {"datasets": ["line", "points"], "backbones": "*"},
            "datasets: a pool is across backbones or across data sets, not both",
        ),
        ({"statistics": "shared"}, "statistics: is for pools across data sets; give `datasets` too"),
        ({"datasets": "*", "statistics": "none"}, "statistics: must be 'averaged', 'shared' or 'per-task', not"),
    ],
)
def test_refusals(write, pool, sentence):
    def toml(value: Any) -> str:
        return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else f'"{value}"'

    keys = ", ".join(f"{key} = {toml(value)}" for key, value in pool.items())
    file = write(
        'name = "x"\nbackbones = ["tiny"]\nschemes = ["full"]\nmetrics = ["accuracy", "rmse"]\n'
        'datasets = ["points", "line", {use = "points", images = true}]\n'
        f'[pools]\nmix = {{ of = ["full"], {keys} }}\n'
    )
    with pytest.raises(SuiteError) as caught:
        load_suite(file, Registry((TINY,)))
    assert str(caught.value).startswith(f"{file}:7: pools.mix.{sentence}")


@pytest.mark.parametrize(
    ("key", "item", "sentence"),
    [
        ("schemes", {"use": "full", "choose": {"lr": [0.1]}}, "choose: only fusions are chosen so"),
        ("schemes", {"use": "full", "head": "cold"}, 'head: must be "frozen", not "cold"'),
        ("fusions", {"use": "vote", "choose": {"scaling": [0.1]}}, "choose: vote fuses on the output level"),
        ("fusions", {"use": "soup", "rounds": 2, "choose": {"recalibrate": [True]}}, "choose: doesn't go with rounds"),
        ("fusions", {"use": "dare", "p": 0.1, "choose": {"p": [0.1]}}, "choose.p: is given both alone and to choose"),
        ("fusions", {"use": "dare", "choose": {"q": [0.1]}}, "choose.q: "),
        ("fusions", {"use": "dare", "choose": {"p": [2.0]}}, "choose.p: "),
        ("fusions", {"use": "dare", "choose": {"p": []}}, "choose.p: must not be empty"),
        ("fusions", {"use": "dare", "choose": {"p": [0.1, 0.1]}}, "choose: dare(p=0.1) is given twice"),
        ("fusions", {"use": "dare", "choose": {"p": [0.1] * 101, "scaling": [0.1] * 101}}, "choose: has more than"),
    ],
)
def test_what_can_be_chosen_and_frozen(key, item, sentence):
    with pytest.raises(SuiteError) as caught:
        load_suite(SUITE | {key: [item]}, Registry((TINY,)))
    assert str(caught.value).startswith(f"{key}[0].{sentence}")


def test_values_to_choose_from_count_as_jobs(monkeypatch):
    scaling = [i / 100 for i in range(1, 61)]
    fusion = {"use": "task-arithmetic", "choose": {"scaling": scaling}}
    asked = SUITE | {"fusions": [fusion]}
    registry = Registry((TINY,))
    assert len(make_plan(load_suite(asked, registry), registry, device="cpu").jobs) > 50
    monkeypatch.setattr(plan_module, "MAX_JOBS", 50)
    with pytest.raises(SuiteError, match=r"the suite asks for [0-9]+ jobs, and a plan holds at most 50"):
        make_plan(load_suite(asked, registry), registry, device="cpu")


# ------------------------------------------------------------------------------------------------- frozen heads


def test_a_frozen_head_is_the_probes_and_the_body_moves(lab):
    on, probe = lab.tuning(lab.POINTS), lab.tuning(lab.POINTS)
    LinearProbe().tune(probe)
    before = lab.state(on.model)
    FrozenHead("full").tune(on)
    assert torch.equal(on.model.head.weight, probe.model.head.weight)
    assert {name for name in lab.changed(before, on.model) if "stages" in name}


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [("head-sgd", "trains nothing but the head"), ("linear-probe", None), ("feature-tune", "adds modules")],
)
def test_schemes_that_need_the_head(lab, scheme, sentence):
    on = lab.tuning(lab.POINTS)
    if sentence is None:
        FrozenHead(scheme).tune(on)  # the same probe twice changes nothing
        return
    with pytest.raises(NotApplicable, match=sentence):
        FrozenHead(scheme).tune(on)


def test_a_head_that_moves_by_itself_is_told(lab):
    with pytest.raises(NotApplicable, match="changes the head by itself"):
        FrozenHead({"use": "linear-probe", "C": 0.01}).tune(lab.tuning(lab.POINTS))


# ----------------------------------------------------------------------------------------------- what fusions get


def test_a_loss_of_all_tasks_is_the_mean_over_examples():
    of = two_tasks()
    made, model, loss = nets.joint(copy.deepcopy(nets.averaged(of.members, [0.5, 0.5], None)), of.members)
    first, second = of.members
    rows = torch.tensor([0, 5, len(first.train) + 3])
    x = torch.cat([first.train.x, second.train.x])
    made.eval()
    outputs = model.eval()(x[rows])
    batch = finefuse.types.Batch(torch.tensor([0, 0, 1]), rows, lambda: x[rows])
    one = first.task.loss(nets.for_member(made, first)(first.train.x[[0, 5]]), first.train.y[[0, 5]])
    other = second.task.loss(nets.for_member(made, second)(second.train.x[[3]]), second.train.y[[3]])
    assert loss(outputs, batch).item() == pytest.approx((2 * one + other).item() / 3, rel=1e-5)


def test_val_is_normalised_by_the_members_own_quality():
    of = two_tasks()
    net = nets.averaged(of.members, [0.5, 0.5], None)
    expected = []
    for member in of.members:
        outputs = nets.for_member(net, member)(member.val.x).detach()
        expected.append(member.task.quality(outputs, member.val) / member.score)
    assert nets.mean_quality(of, net) == pytest.approx(sum(expected) / 2)


def test_a_task_without_a_measure_is_named():
    of = two_tasks()
    of = replace(of, members=[of.members[0], replace(of.members[1], score=0.0)])
    with pytest.raises(NotApplicable, match="the score of of 5 on val is 0, and nothing can be measured by it"):
        nets.mean_quality(of, nets.averaged(of.members, [0.5, 0.5], None))


# -------------------------------------------------------------------------------------------------- determinism


@pytest.mark.slow
def test_workers_change_no_bit(tmp_path, run):
    changes = {"fusions": SUITE["fusions"], "latency": []}
    runs = [ran(tmp_path / str(n), how={"workers": n, "executor": "local"}, **changes) for n in (1, 2)]
    fields = ("outputs", "test.normalised", "test.accuracy", "correct", "quality")
    one, other = ([{f: row.get(f) for f in fields} for row in steady(one.rows)] for one in runs)
    assert one == other
