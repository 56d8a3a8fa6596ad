"""Schemes that leave the head as a probe made it."""

from __future__ import annotations

import pytest
import torch

from finefuse.errors import NotApplicable
from finefuse_zoo.schemes.frozen_head import FrozenHead
from finefuse_zoo.schemes.linear_probe import LinearProbe


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
