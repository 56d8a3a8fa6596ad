from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import Entry, hookimpl
from finefuse.declare import facts
from finefuse.declare import plan as plan_module
from finefuse.declare.keys import explain
from finefuse.declare.plan import Plan, make_plan
from finefuse.declare.suite import load_suite
from finefuse.errors import PluginError, SuiteError
from finefuse.registry import Registry
from finefuse.types import Job, Ref

FIXTURES = Path(__file__).parents[1] / "fixtures"
SUITE: dict[str, Any] = {
    "name": "x",
    "seeds": [3, 1],
    "datasets": ["shapes"],
    "backbones": ["small"],
    "schemes": ["full", "probe"],
    "fusions": ["vote", "soup"],
    "pools": {"same": {"of": ["full"], "copies": 3}, "both": {"of": ["full", "probe"]}},
}


@pytest.fixture(scope="module")
def plugins(fixture_module: Callable[[str], ModuleType]) -> ModuleType:
    return fixture_module("planned")


@pytest.fixture(scope="module")
def registry(plugins: ModuleType) -> Registry:
    return Registry([plugins], entry_points=False)


def planned(registry: Registry, device: str = "cpu", **changes: Any) -> Plan:
    return make_plan(load_suite({**SUITE, **changes}, registry), registry, device=device)


def pick(plan: Plan, kind: str, label: str = "", **wanted: object) -> Job:
    """The one job that is like this, of the first seed and the member 0 unless asked otherwise."""
    wanted = {"seed": 0 if kind == "pretrain" else 3, "member": 0, **wanted, "kind": kind, "label": label}
    (job,) = [job for job in plan.jobs if all(getattr(job, name) == value for name, value in wanted.items())]
    return job


# -------------------------------------------------------------------------------------------------------- which jobs


def test_the_jobs_of_a_suite(registry: Registry) -> None:
    jobs = planned(registry).jobs
    assert Counter(job.kind for job in jobs) == {
        "pretrain": 1,
        "tune": 2 * (3 + 1),
        "pool": 2 * 2,
        "fuse": 2 * 2 * 2,
        "time": 2 + 4,
    }
    assert len({job.cell for job in jobs}) == len(jobs)
    assert [job.kind for job in jobs][-6:] == ["time"] * 6


def test_a_job_comes_after_its_inputs(registry: Registry) -> None:
    made: set[str] = set()
    for job in planned(registry, datasets=["shapes", "source"], backbones=["small", "scratch"]).jobs:
        assert made.issuperset(job.inputs), job.cell
        made.add(job.artifact)


def test_one_pretraining_for_all_seeds_and_data_sets(registry: Registry) -> None:
    datasets = [{"use": "shapes", "grid": {"shots": [3, 10]}}]
    jobs = planned(registry, datasets=datasets, backbones=["small", "other"]).jobs
    pretraining = {job.backbone: job for job in jobs if job.kind == "pretrain"}
    assert {backbone: job.dataset for backbone, job in pretraining.items()} == {
        Ref("small"): Ref("source"),
        Ref("other"): Ref("source"),
    }
    for job in jobs:
        assert job.base == ("" if job.kind == "pretrain" else pretraining[job.backbone].artifact)


def test_random_weights_are_made_once_for_each_data_set(registry: Registry) -> None:
    jobs = planned(registry, datasets=["shapes", "source"], backbones=["scratch"]).jobs
    pretraining = {job.dataset: job for job in jobs if job.kind == "pretrain"}
    assert list(pretraining) == [Ref("shapes"), Ref("source")]
    assert {job.base for job in jobs if job.dataset == Ref("source")} == {"", pretraining[Ref("source")].artifact}


def test_the_members_of_pools_in_their_order(registry: Registry) -> None:
    plan = planned(registry)
    full = [pick(plan, "tune", "full", seed=1, member=member) for member in range(3)]
    probe = pick(plan, "tune", "probe", seed=1)
    assert pick(plan, "fuse", "soup", pool="same", seed=1).members == (
        ("full#0", full[0].artifact),
        ("full#1", full[1].artifact),
        ("full#2", full[2].artifact),
    )
    assert pick(plan, "fuse", "vote", pool="both", seed=1).members == (
        ("full", full[0].artifact),
        ("probe", probe.artifact),
    )


def test_what_is_timed(registry: Registry) -> None:
    plan = planned(registry)
    timed = [job for job in plan.jobs if job.kind == "time"]
    assert {job.seed for job in timed} == {3}
    scheme, fused = pick(plan, "time", "probe"), pick(plan, "time", "vote", pool="same")
    assert scheme.members == (("probe", pick(plan, "tune", "probe").artifact),)
    assert fused.members == pick(plan, "fuse", "vote", pool="same").members
    assert fused.base == pick(plan, "pretrain").artifact
    assert all(job.metrics == () for job in timed)
    assert [job for job in planned(registry, latency=[]).jobs if job.kind == "time"] == []


def test_rounds_start_from_the_fused_network_of_the_round_before(registry: Registry) -> None:
    fusions = ["vote", {"use": "soup", "rounds": 3}]
    plan = planned(registry, fusions=fusions, pools={"same": {"of": ["full"], "copies": 2}})
    fused = [pick(plan, "fuse", "soup", round=number) for number in range(3)]
    again = [[job for job in plan.jobs if (job.kind, job.seed, job.round) == ("tune", 3, n)] for n in range(3)]
    assert [len(jobs) for jobs in again] == [3, 2, 2]
    assert {(job.label, job.pool, job.start) for job in again[1]} == {("full after soup", "same", fused[0].artifact)}
    assert fused[1].start == fused[0].artifact
    assert [artifact for _, artifact in fused[2].members] == [job.artifact for job in again[2]]
    assert [name for name, _ in fused[2].members] == ["full#0", "full#1"]
    assert len({job.cell for job in plan.jobs}) == len(plan.jobs)
    assert len({job.artifact for job in plan.jobs if job.kind in ("tune", "fuse")}) == 2 * (3 + 2 + 2 + 1 + 3)
    assert not [job for job in plan.jobs if job.kind == "time" and job.round]


def test_a_round_more_changes_no_round_before(registry: Registry) -> None:
    once, twice = (planned(registry, fusions=[{"use": "soup", "rounds": n, "as": "soup"}]) for n in (1, 2))
    assert {job.key for job in once.jobs} < {job.key for job in twice.jobs}


def test_a_pool_across_backbones(registry: Registry) -> None:
    pools = {"mix": {"of": ["full"], "copies": 2, "backbones": "*"}, "own": {"of": "*"}}
    plan = planned(registry, backbones=["small", "other"], pools=pools, fusions=["vote", {"use": "soup", "rounds": 2}])
    mixed = pick(plan, "fuse", "vote", pool="mix")
    assert str(mixed.backbone) == "small + other"
    assert mixed.base == ""
    tuned = {
        (str(job.backbone), job.member): job.artifact
        for job in plan.jobs
        if (job.kind, job.label, job.seed) == ("tune", "full", 3)
    }
    assert mixed.members == tuple(
        (f"full#{copy} on {backbone}", tuned[backbone, copy]) for backbone in ("small", "other") for copy in (0, 1)
    )
    own = [job for job in plan.jobs if job.kind == "fuse" and job.pool == "own"]
    assert {str(job.backbone) for job in own} == {"small", "other"}
    assert {name for job in own for name, _ in job.members} == {"full", "probe"}
    assert {job.round for job in plan.jobs if job.pool == "mix"} == {0}


def test_the_members_across_backbones_are_in_the_pools_order(registry: Registry) -> None:
    pools = {"mix": {"of": ["full"], "backbones": ["other", "small"]}}
    mixed = pick(planned(registry, backbones=["small", "other"], pools=pools), "fuse", "vote", pool="mix")
    assert [name for name, _ in mixed.members] == ["full on other", "full on small"]
    assert str(mixed.backbone) == "other + small"


def test_jobs_say_the_level_and_what_is_needed(registry: Registry) -> None:
    plan = planned(registry)
    assert (pick(plan, "fuse", "soup", pool="same").level, pick(plan, "fuse", "vote", pool="same").level) == (
        "weight",
        "output",
    )
    assert pick(plan, "fuse", "soup", pool="same").needs == ("val", "train")
    assert pick(plan, "tune", "full").needs == ()


def test_metrics_that_are_for_the_task(registry: Registry) -> None:
    jobs = planned(registry, datasets=["shapes", "prices"], metrics=["squared", "accuracy"]).jobs
    metrics = {job.dataset: job.metrics for job in jobs if job.kind in ("tune", "fuse")}
    assert metrics == {Ref("shapes"): (Ref("accuracy"),), Ref("prices"): (Ref("squared"),)}
    assert all(job.metrics == () for job in jobs if job.kind == "pretrain")


def test_a_data_set_is_asked_for_its_task_once(
    registry: Registry, plugins: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def task(self: object) -> object:
        asked.append(self)
        return plugins.IMAGES

    suite = load_suite({**SUITE, "backbones": ["small", "other"]}, registry)
    monkeypatch.setattr(plugins.Shapes, "task", property(task))
    make_plan(suite, registry)
    assert len([one for one in asked if type(one) is plugins.Shapes]) == 1


# --------------------------------------------------------------------------------------------------------------- keys


def addresses(registry: Registry, device: str = "cpu", **changes: Any) -> dict[str, tuple[str, str]]:
    """The artifact and key of the first of each kind of job."""
    plan = planned(registry, device, **changes)
    jobs = {job.kind: job for job in reversed(plan.jobs)}
    return {kind: (job.artifact, job.key) for kind, job in jobs.items()}


def moved(registry: Registry, device: str = "cpu", **changes: Any) -> dict[str, str]:
    """Which kinds of job get another artifact, or only another key, by some changes of the suite."""
    before, after = addresses(registry), addresses(registry, device, **changes)
    return {
        kind: "artifact" if before[kind][0] != after[kind][0] else "key"
        for kind in before
        if before[kind] != after[kind]
    }


ALL = dict.fromkeys(("pretrain", "tune", "pool", "fuse", "time"), "artifact")
TUNED = dict.fromkeys(("tune", "pool", "fuse", "time"), "artifact")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"precision": "bf16"}, ALL),
        ({"channels_last": True}, ALL),
        ({"threads": 2}, ALL),
        ({"device": "cuda:1"}, ALL),
        ({"backbones": [{"use": "small", "width": 17}]}, ALL),
        ({"budget": {"epochs": 31}}, TUNED),
        ({"budget": {"batch_size": 33}}, TUNED),
        ({"budget": {"schedule": "constant"}}, TUNED),
        ({"datasets": [{"use": "shapes", "shots": 11}]}, TUNED),
        ({"seeds": [4, 1]}, TUNED),
        ({"schemes": [{"use": "full", "as": "full", "lr": 0.02}, "probe"]}, TUNED),
        ({"fusions": ["soup"]}, {"fuse": "artifact"}),
        ({"fusions": [{"use": "vote", "as": "v"}, "soup"]}, {}),
        ({"metrics": ["top-k"]}, {"tune": "key", "pool": "key", "fuse": "key"}),
        ({"metrics": ["accuracy", "top-k"]}, {"tune": "key", "pool": "key", "fuse": "key"}),
        ({"latency": [1]}, {"time": "artifact"}),
        ({"name": "y"}, {}),
        ({"seeds": [3, 1, 7]}, {}),
        ({"limits": {"seconds": 5, "memory": 1}}, {}),
        ({"schemes": ["full", "probe", "from-file"]}, {}),
        ({"pools": {"another": {"of": ["full"], "copies": 3}}}, {}),
        ({"pools": {"same": {"of": ["full"], "copies": 4}}}, {"pool": "artifact", "fuse": "artifact"}),
        ({"pools": {"both": {"of": ["probe", "full"]}}}, {"pool": "artifact", "fuse": "artifact"}),
        ({"schemes": [{"use": "full", "lr": 0.01, "as": "full"}, "probe"]}, {}),
    ],
    ids=str,
)
def test_what_moves_an_address_and_what_does_not(
    changes: dict[str, Any], expected: Mapping[str, str], registry: Registry
) -> None:
    assert moved(registry, **changes) == expected


def test_the_device_s_number_moves_nothing(registry: Registry) -> None:
    assert addresses(registry, "cuda:0") == addresses(registry, "cuda:1")


def test_the_order_of_metrics_moves_keys_because_the_first_ranks(registry: Registry) -> None:
    one, two = (addresses(registry, metrics=names) for names in (["accuracy", "top-k"], ["top-k", "accuracy"]))
    assert one["tune"][0] == two["tune"][0]
    assert one["tune"][1] != two["tune"][1]


def test_a_metric_s_parameters_move_keys(registry: Registry) -> None:
    one, two = (addresses(registry, metrics=[{"use": "top-k", "k": k}]) for k in (2, 3))
    assert (one["fuse"][0], one["fuse"][1] == two["fuse"][1]) == (two["fuse"][0], False)


def test_one_metric_twice_with_other_parameters(registry: Registry) -> None:
    metrics = [{"use": "top-k", "grid": {"k": [2, 3]}}]
    parts = dict(pick(planned(registry, metrics=metrics), "tune", "full").parts)
    assert (parts["metric top-k(k=2): k"], parts["metric top-k(k=3): k"]) == ("2", "3")


def test_members_and_seeds_differ(registry: Registry) -> None:
    tuned = [job.artifact for job in planned(registry).jobs if job.kind == "tune"]
    assert len(set(tuned)) == len(tuned) == 8


def test_two_labels_for_one_thing_are_two_cells_with_one_artifact(registry: Registry) -> None:
    plan = planned(registry, schemes=["full", {"use": "full", "as": "again"}], pools={})
    one, two = pick(plan, "tune", "full"), pick(plan, "tune", "again")
    assert one.cell != two.cell
    assert (one.artifact, one.key) == (two.artifact, two.key)


def test_why_is_said_in_words(registry: Registry) -> None:
    old = pick(planned(registry), "tune", "full")
    schemes = [{"use": "full", "lr": 0.5, "as": "full"}, "probe"]
    new = pick(planned(registry, budget={"epochs": 31}, schemes=schemes), "tune", "full")
    assert explain(dict(old.parts), dict(new.parts)) == (
        "budget: epochs was 30 and is 31; scheme full: lr was 0.01 and is 0.5"
    )


def test_content_counts_and_its_place_does_not(registry: Registry, tmp_path: Path) -> None:
    def parts(place: str, content: str) -> dict[str, str]:
        file = tmp_path / place
        file.write_text(content)
        schemes = [{"use": "from-file", "weights": str(file), "as": "full"}, "probe"]
        return dict(pick(planned(registry, schemes=schemes), "tune", "full").parts)

    assert parts("a", "one") == parts("b", "one")
    assert explain(parts("a", "one"), parts("a", "two")) == "scheme from-file: weights changed"


def test_a_data_set_s_content_counts(registry: Registry, plugins: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned(registry)
    monkeypatch.setitem(plugins.CONTENT, "shapes", "shapes-2")
    after = planned(registry)
    assert pick(before, "pretrain") == pick(after, "pretrain")
    old, new = (dict(pick(plan, "tune", "full").parts) for plan in (before, after))
    assert explain(old, new) == 'dataset shapes: content was "shapes-1-10" and is "shapes-2-10"'
    monkeypatch.setitem(plugins.CONTENT, "source", "source-2")
    assert pick(before, "pretrain").artifact != pick(planned(registry), "pretrain").artifact


def test_a_change_of_a_plugin_s_source_counts(tmp_path: Path) -> None:
    def job(text: str) -> Job:
        folder = tmp_path / str(len(text))
        folder.mkdir()
        (folder / "planned.py").write_text(text)
        registry = Registry([str(folder / "planned.py")], entry_points=False)
        return pick(planned(registry), "tune", "full")

    text = (FIXTURES / "planned.py").read_text()
    old, new = job(text), job(text + "# a change\n")
    assert old.artifact != new.artifact
    assert "source planned.py changed" in explain(dict(old.parts), dict(new.parts))


def test_the_version_of_what_an_entry_requires_counts(plugins: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def finefuse_schemes(self) -> Iterator[Entry[Any]]:
            yield Entry("picky", plugins.Full, requires=("PIL", "json"))

    def parts() -> dict[str, str]:
        registry = Registry([plugins, Plugin()], entry_points=False)
        return dict(pick(planned(registry, schemes=["full", "picky", "probe"]), "tune", "picky").parts)

    before = parts()
    assert before["version of PIL"] == metadata.version("pillow")
    assert before["version of json"] == ""
    monkeypatch.setattr(facts, "version_of", lambda module: "99")
    assert "version of PIL" in explain(before, parts())


# --------------------------------------------------------------------------------------------------------------- only


def kept(registry: Registry, *only: str) -> Counter[tuple[str, str]]:
    plan = make_plan(load_suite(SUITE, registry), registry, only=only)
    return Counter((job.kind, job.label) for job in plan.jobs)


def test_only_keeps_a_scheme_and_its_backbone(registry: Registry) -> None:
    assert kept(registry, "probe") == {("pretrain", ""): 1, ("tune", "probe"): 2, ("time", "probe"): 1}


def test_only_keeps_the_members_of_a_fusion(registry: Registry) -> None:
    assert kept(registry, "v*") == {
        ("pretrain", ""): 1,
        ("tune", "full"): 6,
        ("tune", "probe"): 2,
        ("pool", ""): 4,
        ("fuse", "vote"): 4,
        ("time", "vote"): 2,
    }


def test_only_changes_no_key(registry: Registry) -> None:
    suite = load_suite(SUITE, registry)
    everything = make_plan(suite, registry).jobs
    assert set(make_plan(suite, registry, only=["soup"]).jobs) < set(everything)
    assert make_plan(suite, registry, only=["*"]).jobs == everything


def test_only_takes_a_label_as_it_is(registry: Registry) -> None:
    suite = load_suite({**SUITE, "schemes": ["full", "probe", {"use": "full", "as": "f[1]"}]}, registry)
    plan = make_plan(suite, registry, only=["f[1]"])
    assert {job.label for job in plan.jobs if job.kind == "time"} == {"f[1]"}


def test_only_what_matches_nothing(registry: Registry) -> None:
    with pytest.raises(SuiteError) as caught:
        make_plan(load_suite(SUITE, registry), registry, only=["probe", "vot"])
    assert str(caught.value) == "no scheme or fusion matches \"vot\"; did you mean 'vote'?"


# --------------------------------------------------------------------------------------------------- errors and cost


def test_a_plugin_that_can_not_tell_its_content(registry: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        planned(registry, datasets=["unreadable"])
    assert str(caught.value) == "the dataset 'unreadable' can't tell its `fingerprint`: OSError: disk on fire"


def test_a_plan_without_end(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module.Planner, "jobs", lambda self: pytest.fail("it began"))
    with pytest.raises(SuiteError) as caught:
        planned(registry, seeds=range(300_000))
    assert str(caught.value) == "the suite asks for 3,000,000 jobs, and a plan holds at most 1,000,000"


def test_planning_imports_no_torch() -> None:
    code = f"""
import sys
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite, suite_schema
from finefuse.registry import Registry
registry = Registry([{str(FIXTURES / "planned.py")!r}], entry_points=False)
suite_schema(registry)
assert len(make_plan(load_suite("planned", registry), registry).jobs) == 30
print([name for name in ("torch", "sklearn", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["quick", "digits"])
def test_the_built_in_suites_can_be_planned(name: str) -> None:
    registry = Registry(["finefuse_zoo.hooks"], entry_points=False)
    file = Path(__file__).parents[2] / "suites" / f"{name}.toml"
    plan = make_plan(load_suite(file, registry), registry)
    assert plan.suite.name == name
    assert Counter(job.kind for job in plan.jobs)["pretrain"] == len(plan.suite.backbones)
    schemes = ["full", "linear-probe", "head-sgd", "gradual-unfreeze", "lp-ft"]
    assert [line.ref.name for line in plan.suite.schemes] == schemes
    fusions = ["vote", "mean-probs", "weighted", "stacking", "soup", "greedy-soup"]
    assert [line.label for line in plan.suite.fusions] == fusions


def test_every_built_in_suite_can_be_planned_without_torch(tmp_path: Path) -> None:
    suites = Path(__file__).parents[2] / "suites"
    code = f"""
import sys
from pathlib import Path
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.registry import Registry
registry = Registry(["finefuse_zoo.hooks"], entry_points=False)
for file in sorted(Path({str(suites)!r}).glob("*.toml")):
    plan = make_plan(load_suite(file, registry), registry)
    assert plan.suite.name == file.stem
    assert len({{job.cell for job in plan.jobs}}) == len(plan.jobs) > 0
print([name for name in ("torch", "torchvision", "peft", "sklearn") if name in sys.modules])
"""
    changed = {**os.environ, "FINEFUSE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=changed)
    assert (done.stdout, done.stderr) == ("[]\n", "")
