"""Distances of feature maps, attention, and the two schemes made of them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from finefuse.nets import Net
from finefuse_zoo.linear import fit_linear
from finefuse_zoo.schemes import _feature_maps as feature_maps
from finefuse_zoo.schemes.delta import Delta
from finefuse_zoo.schemes.feature_map import FeatureMap


@pytest.fixture(scope="module")
def step(fixture_module):
    """tests/fixtures/one_step.py."""
    return fixture_module("one_step")


def moved(net):
    """Another network near this one, so that there is a distance."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    return other


@pytest.mark.parametrize("task", ["POINTS", "LINE"])
def test_feature_map_descends_the_distance_of_all_stages(lab, task, step):
    on = lab.tuning(getattr(lab, task))
    original = moved(on.pretrained)
    on, before = step.one_step(FeatureMap(strength=0.3), getattr(lab, task), original)
    batch, f = step.first_rows(on), nn.functional
    x, y = on.train.x[batch], on.train.y[batch]
    value = (f.mse_loss if task == "LINE" else f.cross_entropy)(before(x), y)
    for now, old in zip(step.stage_outputs_of(before, x), step.stage_outputs_of(original, x), strict=True):
        value = value + 0.3 * 0.5 * (now - old.detach()).square().sum(1).mean()
    step.assert_stepped(on, before, step.gradients_of(before, value))


def test_the_distance_by_loops():
    rng = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, 3, 4, 5, generator=rng),
        torch.randn(2, 7, 3, generator=rng),
        torch.randn(2, 6, generator=rng),
    ]
    others = [torch.randn(m.shape, generator=rng) for m in maps]
    attention = [torch.rand(c, generator=rng) for c in (3, 3, 6)]
    expected = 0.0
    for n in range(2):
        for c in range(3):
            expected += float(attention[0][c] * (maps[0] - others[0])[n, c].square().sum()) / 20
            expected += float(attention[1][c] * (maps[1] - others[1])[n, :, c].square().sum()) / 7
        for c in range(6):
            expected += float(attention[2][c] * (maps[2] - others[2])[n, c].square())
    assert float(feature_maps.distance(maps, others, [1, 2, 1], attention)) == pytest.approx(expected / 2 / 2, rel=1e-5)


def test_much_strength_keeps_the_feature_maps(lab, step):
    def distance(scheme):
        on = lab.tuning(lab.IMAGES, epochs=10)
        scheme.tune(on)
        with torch.no_grad():
            maps, originals = (step.stage_outputs_of(net, on.train.x) for net in (on.model, on.pretrained))
        return sum(float((a - b).square().mean()) for a, b in zip(maps, originals, strict=True))

    plain = distance(FeatureMap(strength=0.0, norm="affine"))
    assert distance(FeatureMap(strength=1.0, norm="affine")) < 0.5 * plain
    assert distance(Delta(strength=1.0, norm="affine")) < 0.7 * plain


def test_attention_is_on_the_channels_that_matter(lab):
    on = lab.tuning(lab.IMAGES)
    with torch.no_grad():
        for parameter in on.pretrained.stages[1][1].parameters():
            parameter[2:] = 0  # only the first two of six features are not always 0
    attention = feature_maps.channel_attention(on, 60)
    assert [tuple(a.shape) for a in attention] == [(4,), (6,)]
    assert [float(a.sum()) for a in attention] == pytest.approx([4, 6], rel=1e-5)
    assert torch.equal(attention[1][2:], attention[1][2].expand(4))
    assert attention[1][:2].min() > attention[1][2]


def test_attention_by_brute_force(lab):
    on = lab.tuning(lab.IMAGES)
    net, x, y = on.pretrained, on.train.x[:20], on.train.y[:20]
    weight, bias = fit_linear(on.trainer.features(net, on.train.x), on.train.y, 3, 1.0)

    def loss(channel):
        def silence(module, inputs, output):
            output = output.clone()
            output[:, channel] = 0
            return output

        hook = net.stages[0].register_forward_hook(silence) if channel is not None else None
        with torch.no_grad():
            value = nn.functional.cross_entropy(net.features(x).double() @ weight.T + bias, y)
        if hook:
            hook.remove()
        return float(value)

    raised = torch.tensor([loss(c) - loss(None) for c in range(4)])
    assert torch.allclose(feature_maps.channel_attention(on, 20)[0], 4 * raised.softmax(0), atol=1e-5)


def test_delta_with_equal_attention_is_feature_map(lab, monkeypatch):
    uniform = [torch.ones(4), torch.ones(6)]
    monkeypatch.setattr("finefuse_zoo.schemes.delta.channel_attention", lambda on, examples: uniform)
    plain, attentive = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    FeatureMap(strength=1.0).tune(plain)
    Delta(strength=1.0).tune(attentive)
    assert lab.changed(lab.state(plain.model), attentive.model) == set()


def test_a_stage_without_parameters_may_stand_in_front(lab):
    on = lab.tuning(lab.IMAGES)
    for name in ("model", "pretrained"):
        net = getattr(on, name)
        on = replace(on, **{name: Net([nn.Identity(), *net.stages], net.head, net.recipe)})
    plain = lab.tuning(lab.IMAGES)
    FeatureMap(strength=1.0).tune(on)
    FeatureMap(strength=1.0).tune(plain)
    assert all(torch.equal(p, q) for p, q in zip(on.model.parameters(), plain.model.parameters(), strict=True))


@pytest.mark.parametrize(("shape", "axis"), [((2, 5), 1), ((2, 3, 5), 2), ((2, 5, 4, 4), 1), ((2, 4, 3, 5), 3)])
def test_channels_come_second(shape, axis):
    assert feature_maps.by_channel(torch.zeros(shape), axis).shape[:2] == (2, 5)


class Last(nn.Module):
    """Maps with their channels last, as Swin's."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def test_channels_are_found_where_they_are_last(lab):
    def net():
        torch.manual_seed(0)
        stages = [nn.Sequential(Last(), nn.Linear(1, 5)), nn.Sequential(nn.LayerNorm(5), nn.Flatten())]
        return Net(stages, nn.Linear(5 * 64, 3))

    on = replace(lab.tuning(lab.IMAGES), model=net(), pretrained=net().eval())
    assert feature_maps.channel_axes(on) == [3, 1]
    assert [len(a) for a in feature_maps.channel_attention(on, 8)] == [5, 5 * 64]
