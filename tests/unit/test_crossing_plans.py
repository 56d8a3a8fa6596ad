"""Pools across data sets in suites and plans: what they ask for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from finefuse.declare import plan as plan_module
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError
from helpers.crossing import SUITE, TINY


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
