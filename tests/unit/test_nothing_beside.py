"""Schemes that train everything, as `full` does, with something beside it: without that, they are `full`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from torch import nn

from finefuse import NotApplicable
from finefuse_zoo.schemes.auto_rgn import AutoRgn
from finefuse_zoo.schemes.bss import Bss
from finefuse_zoo.schemes.co_tuning import CoTuning
from finefuse_zoo.schemes.delta import Delta
from finefuse_zoo.schemes.ema import Ema
from finefuse_zoo.schemes.feature_map import FeatureMap
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.lwf import Lwf
from finefuse_zoo.schemes.sam import Sam
from finefuse_zoo.schemes.source_replay import SourceReplay
from finefuse_zoo.schemes.stochnorm import StochNorm

CLASSES_ONLY = (SourceReplay, Lwf, CoTuning)  # `lab` has no source data for regression
TASKS = ["POINTS", "IMAGES", "LINE"]
NOTHING_BESIDE = [
    SourceReplay(strength=0.0),
    Lwf(strength=0.0),
    CoTuning(strength=0.0),
    FeatureMap(strength=0.0),
    Delta(strength=0.0, examples=4),
    Bss(eta=0.0),
    StochNorm(p=1.0),
    Ema(decay=0.0),
]
SOMETHING_BESIDE = [
    SourceReplay(),
    Lwf(),
    CoTuning(),
    FeatureMap(strength=1.0),
    Delta(strength=1.0, examples=4),
    Bss(),
    StochNorm(),
    Ema(),
    AutoRgn(),
    Sam(),
]
OTHERWISE = [
    (SourceReplay(), SourceReplay(strength=0.4)),
    (Lwf(), Lwf(strength=3.0)),
    (Lwf(), Lwf(T=2.0)),
    (CoTuning(), CoTuning(strength=2.0)),
    (CoTuning(), CoTuning(relationship="reverse")),
    (FeatureMap(), FeatureMap(strength=0.1)),
    (Delta(), Delta(strength=0.1)),
    (Delta(strength=1.0), Delta(strength=1.0, examples=4)),
    (Bss(), Bss(k=2)),
    (Bss(), Bss(eta=0.1)),
    (StochNorm(), StochNorm(p=0.1)),
    (Ema(), Ema(decay=0.5)),
    (Sam(), Sam(rho=0.5)),
    *((scheme, replace(scheme, lr=0.01)) for scheme in SOMETHING_BESIDE),
    *((scheme, replace(scheme, norm="affine")) for scheme in SOMETHING_BESIDE if not isinstance(scheme, StochNorm)),
]


def applies(scheme, task):
    if isinstance(scheme, StochNorm):
        return task == "IMAGES"
    return task != "LINE" or not isinstance(scheme, CLASSES_ONLY)


def pairs(schemes):
    return [pytest.param(s, t, id=f"{type(s).__name__}-{t}") for s in schemes for t in TASKS if applies(s, t)]


def tuned(lab, scheme, task="IMAGES", **how):
    on = lab.tuning(getattr(lab, task), **how)
    scheme.tune(on)
    return on


@pytest.fixture(scope="module")
def network(lab):
    """What a scheme makes of a task; each is tuned once."""
    return cache(lambda scheme, task="IMAGES": tuned(lab, scheme, task).model)


@pytest.mark.parametrize(("scheme", "task"), pairs(NOTHING_BESIDE))
def test_with_nothing_beside_it_every_bit_is_that_of_full(lab, scheme, task):
    ours, full = tuned(lab, scheme, task), tuned(lab, Full(), task)
    assert lab.changed(lab.state(full.model), ours.model) == set()
    assert ours.trainer.spent == full.trainer.spent


@pytest.mark.parametrize("task", TASKS)
def test_sam_that_climbs_nowhere_is_full_with_half_the_steps(lab, task):
    ours, full = tuned(lab, Sam(rho=0.0), task), lab.tuning(getattr(lab, task))
    full.trainer.fit(full.model, [{"params": full.model.parameters()}], steps=full.trainer.budget // 2)
    assert lab.changed(lab.state(full.model), ours.model) == set()
    assert ours.trainer.spent == 2 * (ours.trainer.budget // 2)


@pytest.mark.parametrize(("scheme", "task"), pairs(SOMETHING_BESIDE))
def test_with_something_beside_it_all_is_trained_and_nothing_is_left_behind(lab, network, scheme, task):
    on, full = lab.tuning(getattr(lab, task)), network(Full(), task)
    start, original = lab.state(on.model), lab.state(on.pretrained)
    scheme.tune(on)
    parameters = {name for name, _ in on.model.named_parameters()}
    assert parameters <= lab.changed(start, on.model)
    assert parameters & lab.changed(lab.state(full), on.model)
    assert lab.changed(original, on.pretrained) == set()
    assert type(on.model.head) is nn.Linear
    assert on.model.head.out_features == on.task.outputs
    for module in [*on.model.modules(), *on.pretrained.modules()]:
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
        assert "forward" not in vars(module)
        assert getattr(module, "track_running_stats", True)


@pytest.mark.parametrize(("one", "other"), OTHERWISE, ids=lambda scheme: repr(scheme))
def test_every_parameter_makes_a_difference(lab, network, one, other):
    assert lab.changed(lab.state(network(one)), network(other))


@pytest.mark.parametrize("scheme", [s for s in SOMETHING_BESIDE if not isinstance(s, StochNorm)], ids=repr)
@pytest.mark.parametrize("norm", ["affine", "eval"])
def test_statistics_of_batchnorm_stay_where_the_policy_says_so(lab, scheme, norm):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    replace(scheme, norm=norm).tune(on)
    buffers = {name for name, _ in on.model.named_buffers()}
    assert not buffers & lab.changed(before, on.model)


def test_what_can_not_be_done_is_said(lab):
    with pytest.raises(NotApplicable, match="no BatchNorm"):
        StochNorm().tune(lab.tuning(lab.LINE))
    with pytest.raises(NotApplicable, match="no source data"):
        SourceReplay().tune(lab.tuning(lab.LINE))
    assert Lwf.kinds == CoTuning.kinds == ("classification",)


def test_source_data_or_head_are_asked_for_by_those_that_use_them(lab):
    needs = {type(scheme).__name__: scheme.needs for scheme in SOMETHING_BESIDE if hasattr(scheme, "needs")}
    assert needs == {"SourceReplay": ("source",), "Lwf": ("source head",), "CoTuning": ("source head",)}
