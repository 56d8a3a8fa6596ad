"""Watching stages, and passes that leave no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from finefuse import nets
from finefuse_zoo.schemes import _stage_outputs, _steps


@pytest.fixture(scope="module")
def step(fixture_module):
    """tests/fixtures/one_step.py."""
    return fixture_module("one_step")


def test_stage_outputs_are_those_of_the_latest_pass(lab, step):
    net, x = lab.network(lab.IMAGES), torch.randn(3, 1, 8, 8)
    with _stage_outputs.stage_outputs(net) as seen:
        net(torch.randn(5, 1, 8, 8))
        net(x)
    net(torch.randn(2, 1, 8, 8))
    assert all(torch.equal(a, b) for a, b in zip(seen, step.stage_outputs_of(net, x), strict=True))
    assert torch.equal(seen[-1], net.features(x))


def test_hooks_are_removed_after_an_error(lab):
    net = lab.network(lab.IMAGES)
    with pytest.raises(RuntimeError), _stage_outputs.stage_outputs(net):
        raise RuntimeError
    with pytest.raises(RuntimeError), nets.statistics_kept(net):
        raise RuntimeError
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert all(module.track_running_stats for module in net.modules() if isinstance(module, nn.BatchNorm2d))


def test_kept_statistics_normalise_by_the_batch_all_the_same(lab):
    net, x = lab.network(lab.IMAGES).train(), 5 * torch.randn(6, 1, 8, 8)
    before, twin = lab.state(net), copy.deepcopy(net)
    with nets.statistics_kept(net):
        outputs = net(x)
    assert lab.changed(before, net) == set()
    assert torch.equal(outputs, twin(x))


def test_kept_dropout_is_drawn_again():
    with torch.random.fork_rng(), _steps.dropout_kept(torch.device("cpu")):
        inside = torch.rand(3)
    with torch.random.fork_rng():
        assert torch.equal(torch.rand(3), inside)
