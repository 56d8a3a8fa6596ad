"""Stages as a suite declares them: their keys, what may follow what."""

from __future__ import annotations

from typing import Any

import pytest

from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery import capabilities
from finefuse.discovery.capabilities import DeclarationError
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError
from helpers.crossing import TINY
from helpers.stages import PLAIN, SUITE, Stage, Stages


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(("finefuse_zoo.hooks", TINY, Stages()), entry_points=False)


def keys(registry: Registry, *fusions: Any) -> dict[str, str]:
    jobs = make_plan(load_suite(SUITE | {"fusions": list(fusions)}, registry), registry).jobs
    return {job.label: job.artifact for job in jobs if job.kind == "fuse"}


def test_a_stage_with_its_parameters_and_its_place_is_in_the_key(registry):
    lines = [["times"], [{"use": "times", "by": 3.0}], ["times", "recalibrate"], ["recalibrate", "times"]]
    found = keys(registry, PLAIN, *(PLAIN | {"followed_by": stages} for stages in lines))
    assert list(found) == [
        "soup(recalibrate=false)",
        "soup(recalibrate=false) then times",
        "soup(recalibrate=false) then times(by=3)",
        "soup(recalibrate=false) then times then recalibrate",
        "soup(recalibrate=false) then recalibrate then times",
    ]
    assert len(set(found.values())) == 5
    assert keys(registry, PLAIN)["soup(recalibrate=false)"] == found["soup(recalibrate=false)"]


def test_a_line_depends_on_the_order_of_members_if_a_stage_does(registry):
    fusions = [PLAIN | {"followed_by": ["times"]}, PLAIN | {"followed_by": ["recalibrate", "ordered"]}]
    pools = {"all": {"of": ["full"], "copies": 3, "sizes": [2], "subsets": 3}}
    jobs = make_plan(load_suite(SUITE | {"fusions": fusions, "pools": pools}, registry), registry).jobs
    places = [(job.label, tuple(place for place, _ in job.fused)) for job in jobs if job.kind == "fuse" and job.size]
    rising = [label.split(" then ")[-1] for label, names in places if list(names) == sorted(names)]
    assert len(places) == 6
    assert rising.count("times") == 3
    assert rising.count("ordered") < 3


@pytest.mark.parametrize(
    ("fusion", "why"),
    [
        ({"use": "vote", "followed_by": ["recalibrate"]}, r"vote fuses on the output level, and there must be one"),
        ({"use": "gate", "followed_by": ["recalibrate"]}, r"gate fuses on the feature level, and there must be one"),
        ({"use": "soup", "followed_by": ["recalibrate", "ties"]}, r"followed_by\[1\]: ties is no stage"),
        ({"use": "soup", "followed_by": ["recalibrat"]}, "did you mean 'recalibrate'"),
        ({"use": "soup", "followed_by": [{"use": "times", "bye": 2}]}, "did you mean 'by'"),
        ({"use": "soup", "followed_by": []}, "must not be empty"),
        ({"use": "soup", "followed_by": "recalibrate"}, "must be a list|valid list"),
    ],
)
def test_what_cannot_follow_is_found_with_the_suite(registry, fusion, why):
    with pytest.raises(FinefuseError, match=why):
        load_suite(SUITE | {"fusions": [fusion]}, registry)


def test_schemes_have_no_stages(registry):
    with pytest.raises(FinefuseError, match="is for fusions: its stages change what was fused"):
        load_suite(SUITE | {"schemes": [{"use": "full", "followed_by": ["recalibrate"]}], "fusions": []}, registry)


def test_only_fusions_of_weights_follow():
    loud = type("Loud", (Stage,), {"level": "output"})
    with pytest.raises(DeclarationError, match="only fusions on the weight level follow others"):
        capabilities.check("fusion", loud())
