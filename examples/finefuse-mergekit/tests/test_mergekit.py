"""mergekit's methods keep the rules, and give what finefuse's own give."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("mergekit", reason="mergekit is not installed")

from finefuse_mergekit import methods
from finefuse_mergekit.hooks import NAMES

from finefuse import NotApplicable
from finefuse.testing import IMAGES, check_fusion, small_fusing, small_members
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.ties import Ties

TWO = ("slerp", "nearswap", "arcee_fusion", "nuslerp")
"""Methods of exactly two models."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*TWO, "passthrough", "model_stock")])
def test_a_method_keeps_the_rules(name):
    check_fusion(getattr(methods, name))


@pytest.mark.parametrize("name", TWO)
def test_methods_of_two_models(name):
    cls = getattr(methods, name)
    two, three = (small_fusing(small_members(IMAGES, count), IMAGES, cls.needs) for count in (2, 3))
    assert all(p.isfinite().all() for p in cls().fuse(two).parameters())
    with pytest.raises(NotApplicable, match=r"mergekit: .*2"):
        cls().fuse(three)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (methods.linear(), Soup()),
        (methods.task_arithmetic(weight=0.3), TaskArithmetic()),
        (methods.ties(density=0.2), Ties(trim="tensor")),
    ],
)
def test_they_give_what_finefuse_s_own_give(theirs, ours):
    of = small_fusing(small_members(IMAGES), IMAGES)
    for a, b in zip(theirs.fuse(of).parameters(), ours.fuse(of).parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_every_name_is_a_method_of_mergekit():
    assert [getattr(methods, name).method for name in NAMES] == list(NAMES)
