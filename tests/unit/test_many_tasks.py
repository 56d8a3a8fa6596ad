"""What a fusion of several tasks is given, and how networks of them are measured."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

import finefuse
from finefuse import nets
from finefuse.engine.work.made import choices_of
from finefuse.errors import NotApplicable, PluginError
from finefuse.types.aggregate import ratio
from helpers.tasks import two_tasks


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


@pytest.mark.parametrize("choice", [{"a": 1.0}, {"a": ("x", True)}, {"a": (1.0, 1)}, {1: (1.0, True)}])
def test_choices_that_make_no_sense(choice):
    with pytest.raises(PluginError, match="a number and True or False were expected"):
        choices_of(replace(two_tasks(), choices=choice))
