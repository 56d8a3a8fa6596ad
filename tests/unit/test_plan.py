from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse.declare import plan as plan_module
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError, PluginError, SuiteError
from finefuse.types import Ref
from helpers.planning import SUITE, pick, planned

FIXTURES = Path(__file__).parents[1] / "fixtures"
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
    assert pick(plan, "fuse", "soup", pool="same", seed=1).fused == (
        ("full#0", full[0].artifact),
        ("full#1", full[1].artifact),
        ("full#2", full[2].artifact),
    )
    assert pick(plan, "fuse", "vote", pool="both", seed=1).fused == (
        ("full", full[0].artifact),
        ("probe", probe.artifact),
    )


def test_what_is_timed(registry: Registry) -> None:
    plan = planned(registry)
    timed = [job for job in plan.jobs if job.kind == "time"]
    assert {job.seed for job in timed} == {3}
    scheme, fused = pick(plan, "time", "probe"), pick(plan, "time", "vote", pool="same")
    assert (scheme.fused, scheme.timed) == ((), pick(plan, "tune", "probe").artifact)
    assert fused.timed == pick(plan, "fuse", "vote", pool="same").artifact not in fused.inputs
    assert fused.fused == pick(plan, "fuse", "vote", pool="same").fused
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
    assert [artifact for _, artifact in fused[2].fused] == [job.artifact for job in again[2]]
    assert [name for name, _ in fused[2].fused] == ["full#0", "full#1"]
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
    assert mixed.fused == tuple(
        (f"full#{copy} on {backbone}", tuned[backbone, copy]) for backbone in ("small", "other") for copy in (0, 1)
    )
    own = [job for job in plan.jobs if job.kind == "fuse" and job.pool == "own"]
    assert {str(job.backbone) for job in own} == {"small", "other"}
    assert {name for job in own for name, _ in job.fused} == {"full", "probe"}
    assert {job.round for job in plan.jobs if job.pool == "mix"} == {0}


def test_the_members_across_backbones_are_in_the_pools_order(registry: Registry) -> None:
    pools = {"mix": {"of": ["full"], "backbones": ["other", "small"]}}
    mixed = pick(planned(registry, backbones=["small", "other"], pools=pools), "fuse", "vote", pool="mix")
    assert [name for name, _ in mixed.fused] == ["full on other", "full on small"]
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


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"trials": 400_000, "sampler": "random"}, "the suite asks for 1,200,012 jobs, and a plan holds at most"),
        ({"trials": 10_000}, "trials of the suite's searches are told 149,984,982 times of an earlier one"),
        ({"trials": 10**12}, "trials must be less than or equal to 1000000, not 1000000000000"),
    ],
)
def test_a_search_without_end_is_refused_before_it_is_expanded(
    search: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module.Planner, "jobs", lambda self: pytest.fail("it began"))
    scheme = {"use": "search", "of": "full", "space": {"lr": {"low": 0.1, "high": 1.0}}, **search}
    suite = {"name": "x", "seeds": [0, 1, 2], "datasets": ["digits"], "backbones": ["cnn-s"], "schemes": [scheme]}
    both = Registry(("finefuse_zoo.hooks",), entry_points=False)
    with pytest.raises(FinefuseError) as caught:
        make_plan(load_suite({**suite, "fusions": ["soup", "vote"]}, both), both)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_planning_imports_no_torch() -> None:
    code = f"""
import sys
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite, suite_schema
from finefuse.discovery.registry import Registry
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


def test_two_jobs_that_would_be_one_cell_are_refused(registry: Registry) -> None:
    """A later round is named after scheme and fusion."""
    schemes = [{"use": "full", "as": "a"}, {"use": "probe", "as": "a after b"}]
    fusions = [{"use": "soup", "as": "c", "rounds": 2}, {"use": "soup", "as": "b after c", "rounds": 2}]
    with pytest.raises(SuiteError, match=r"a after b after c/p/s3/m0/r1 names two jobs; give .* another `as`"):
        planned(registry, schemes=schemes, fusions=fusions, pools={"p": {"of": ["a", "a after b"]}})


def test_every_built_in_suite_can_be_planned_without_torch(tmp_path: Path) -> None:
    suites = Path(__file__).parents[2] / "suites"
    code = f"""
import sys
from pathlib import Path
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError
registry = Registry(["finefuse_zoo.hooks"], entry_points=False)
for file in sorted(Path({str(suites)!r}).glob("*.toml")):
    try:
        suite = load_suite(file, registry)
    except FinefuseError as error:
        assert "it needs datasets" in str(error), error  # the one extra that the tests' environment lacks
        continue
    plan = make_plan(suite, registry)
    assert plan.suite.name == file.stem
    assert len({{job.cell for job in plan.jobs}}) == len(plan.jobs) > 0
print([name for name in ("torch", "torchvision", "peft", "sklearn") if name in sys.modules])
"""
    changed = {**os.environ, "FINEFUSE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=changed)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_cells_are_kept_with_what_they_need_and_no_more(registry: Registry) -> None:
    whole = planned(registry)
    chosen = next(job for job in whole.jobs if job.kind == "fuse")
    part = make_plan(load_suite(SUITE, registry), registry, only=[chosen.place])
    assert {job.artifact for job in part.jobs if job.place != chosen.place} >= set(chosen.inputs)
    assert [job for job in part.jobs if job.kind in ("fuse", "pool", "time")] == [chosen]
    assert set(part.jobs) < set(whole.jobs)


def test_a_cell_that_is_not_planned_is_refused(registry: Registry) -> None:
    cell = planned(registry).jobs[-1].place._replace(seed=99)
    with pytest.raises(SuiteError, match=r"the suite has no cell .*/s99/"):
        make_plan(load_suite(SUITE, registry), registry, only=[cell])
