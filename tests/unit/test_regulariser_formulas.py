"""Schemes with something beside plain fine-tuning, one step of each against its formula."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from finefuse import NotApplicable
from finefuse.types import Data, Recipe
from finefuse_zoo.linear import fit_linear
from finefuse_zoo.schemes import _steps
from finefuse_zoo.schemes.auto_rgn import AutoRgn, relative_gradient, scaled
from finefuse_zoo.schemes.bss import Bss
from finefuse_zoo.schemes.co_tuning import CoTuning, direct, reverse
from finefuse_zoo.schemes.ema import Ema
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.lwf import Lwf
from finefuse_zoo.schemes.sam import Sam, climbed
from finefuse_zoo.schemes.source_replay import SourceReplay
from finefuse_zoo.schemes.stochnorm import StochNorm, stochastic


@pytest.fixture(scope="module")
def step(fixture_module):
    """tests/fixtures/one_step.py."""
    return fixture_module("one_step")


def test_source_replay_descends_the_sum_of_both_losses(lab, step):
    on, before = step.one_step(SourceReplay(strength=0.7), lab.POINTS)
    rows = torch.randint(len(on.source), (16,), generator=torch.Generator().manual_seed(7))
    batch, f = step.first_rows(on), nn.functional
    value = f.cross_entropy(before(on.train.x[batch]), on.train.y[batch])
    at_source = on.pretrained.head(before.features(on.source.x[rows]))
    value = value + 0.7 * f.cross_entropy(at_source, on.source.y[rows])
    step.assert_stepped(on, before, step.gradients_of(before, value))


def test_source_replay_regresses_where_the_source_does(lab):
    on = lab.tuning(lab.LINE)
    source = Data(on.train.x, torch.zeros(len(on.train), 5))
    before = lab.state(on.model)
    SourceReplay(strength=10.0, lr=0.01).tune(replace(on, source=source, source_task=lab.LINE.resized(5)))
    assert {name for name, _ in on.model.named_parameters()} <= lab.changed(before, on.model)


def test_replayed_batches_leave_the_statistics_to_the_task(lab):
    on, full = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    far = Data(on.source.x + 1e6, on.source.y)
    SourceReplay(strength=1e-30).tune(replace(on, source=far))
    Full().tune(full)
    for (name, ours), theirs in zip(on.model.named_buffers(), full.model.buffers(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3), name


def test_lwf_descends_cross_entropy_and_divergence(lab, step):
    on, before = step.one_step(Lwf(strength=2.0, T=1.5), lab.POINTS)
    batch, f = step.first_rows(on), nn.functional
    x, y = on.train.x[batch], on.train.y[batch]
    target = (on.pretrained(x) / 1.5).softmax(-1).detach()
    now = (on.pretrained.head(before.features(x)) / 1.5).softmax(-1)
    divergence = (target * (target / now).log()).sum(1).mean()
    step.assert_stepped(on, before, step.gradients_of(before, f.cross_entropy(before(x), y) + 2.0 * divergence))


def test_co_tuning_descends_both_cross_entropies(lab, step):
    on, before = step.one_step(CoTuning(strength=0.9), lab.POINTS)
    batch, f = step.first_rows(on), nn.functional
    p = on.pretrained(on.train.x).softmax(-1).detach()
    relation = torch.stack([p[on.train.y == c].mean(0) for c in range(3)])
    x, y = on.train.x[batch], on.train.y[batch]
    now = on.pretrained.head(before.features(x)).log_softmax(-1)
    value = f.cross_entropy(before(x), y) - 0.9 * (relation[y] * now).sum(1).mean()
    step.assert_stepped(on, before, step.gradients_of(before, value))


def probabilities(seed):
    """Those of a source head whose classes 0, 2 and 4 go with the target's 0, 1 and 2."""
    y = torch.arange(90) % 3
    noise = torch.randn(90, 6, generator=torch.Generator().manual_seed(seed))
    return Data((3 * nn.functional.one_hot(2 * y, 6) + noise).softmax(-1), y)


@pytest.mark.parametrize("relate", [direct, reverse])
def test_relationships_are_probabilities_that_find_the_planted_one(relate):
    relation = relate(probabilities(0), probabilities(1), 3)
    assert relation.shape == (3, 6)
    assert torch.allclose(relation.sum(1), torch.ones(3))
    assert relation.argmax(1).tolist() == [0, 2, 4]


def test_a_class_without_examples_has_no_direct_relationship():
    data = Data(torch.full((2, 4), 0.25), torch.tensor([0, 2]))
    assert direct(data, data, 3).sum(1).tolist() == [1, 0, 1]


def test_reverse_inverts_the_regression_that_is_best_on_val():
    train, val = probabilities(0), probabilities(1)

    def fit(power):
        weight, bias = fit_linear(train.x, train.y, 3, 10.0**power)
        return float(nn.functional.cross_entropy(val.x.double() @ weight.T + bias, val.y)), power, weight, bias

    _, power, weight, bias = min(fit(power) for power in range(-2, 4))
    assert -2 < power < 3
    prior = train.x.double().mean(0)
    posterior = torch.stack([(weight[:, s] + bias).softmax(0) for s in range(6)], 1)  # p(y_t | y_s), (3, 6)
    relation = reverse(train, val, 3)
    for t in range(3):
        evidence = sum(float(posterior[t, s] * prior[s]) for s in range(6))
        for s in range(6):
            assert float(relation[t, s]) == pytest.approx(float(posterior[t, s] * prior[s]) / evidence, rel=1e-5)


@pytest.mark.parametrize("k", [1, 3, 99])
def test_bss_descends_the_smallest_singular_values(lab, k, step):
    on, before = step.one_step(Bss(k=k, eta=0.2), lab.POINTS)
    batch = step.first_rows(on)
    x, y = on.train.x[batch], on.train.y[batch]
    features = before.features(x)
    eigenvalues = torch.linalg.eigvalsh(features.double().T @ features.double())  # ascending squares
    shrunk = eigenvalues[:k].sum()
    value = nn.functional.cross_entropy(before(x), y) + 0.2 * shrunk.float()
    step.assert_stepped(on, before, step.gradients_of(before, value), atol=1e-5)


@pytest.mark.parametrize("kind", ["1d", "2d"])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_every_channel_is_normalised_by_the_batch_or_by_the_running_statistics(kind, p):
    layer, shape = (nn.BatchNorm1d(40), (8, 40)) if kind == "1d" else (nn.BatchNorm2d(40), (8, 40, 3, 3))
    rng = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(shape, generator=rng) + 1
    with torch.no_grad():
        layer.weight.copy_(torch.rand(40, generator=rng))
        layer.running_mean.copy_(torch.rand(40, generator=rng))
    twin = copy.deepcopy(layer)
    forward = stochastic(layer, p, rng)
    by_running, by_batch = twin.eval()(x), twin.train()(x)
    mixed = forward(x)
    from_batch = torch.stack([torch.equal(mixed[:, c], by_batch[:, c]) * torch.ones(()) for c in range(40)])
    for c in range(40):
        source = by_batch if from_batch[c] else by_running
        assert torch.allclose(mixed[:, c], source[:, c], atol=1e-6)
    assert from_batch.mean() == p if p in (0, 1) else 0.2 < from_batch.mean() < 0.8
    assert torch.equal(layer.running_mean, twin.running_mean)
    assert int(layer.num_batches_tracked) == 1
    layer.eval()
    assert torch.equal(forward(x), layer(x))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)], ids=["vectors", "images"])
def test_stochnorm_has_exact_gradients(p, shape):
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True)
    scale, shift = (torch.randn(4, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def mixed(x, scale, shift):
        layer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(4, momentum=0.5).double()
        layer.running_mean.copy_(torch.linspace(-2, 2, 4))
        layer.running_var.copy_(torch.linspace(0.1, 5, 4))
        del layer.weight, layer.bias
        layer.weight, layer.bias = scale, shift
        return stochastic(layer, p, torch.Generator().manual_seed(1))(x)

    assert torch.autograd.gradcheck(mixed, (x, scale, shift))


def test_stochnorm_needs_running_statistics(lab):
    on = lab.tuning(lab.IMAGES)
    layer = next(module for module in on.model.modules() if isinstance(module, nn.BatchNorm2d))
    layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    with pytest.raises(NotApplicable, match="keeps no running statistics"):
        StochNorm().tune(on)


def test_stochnorm_keeps_the_names_and_classes_of_the_network(lab):
    on = lab.tuning(lab.IMAGES)
    names, classes = list(on.model.state_dict()), [type(module) for module in on.model.modules()]
    StochNorm().tune(on)
    assert list(on.model.state_dict()) == names
    assert [type(module) for module in on.model.modules()] == classes


def test_auto_rgn_steps_by_relative_gradients(lab, step):
    on, before = step.one_step(AutoRgn(), lab.POINTS)
    batch = step.first_rows(on)
    value = nn.functional.cross_entropy(before(on.train.x[batch]), on.train.y[batch])
    parts = [*before.stages, before.head]
    ratios = []
    for part in parts:
        gradients = torch.autograd.grad(value, list(part.parameters()), retain_graph=True)
        lengths = [np.sqrt(sum(float(t.detach().square().sum()) for t in ts)) for ts in (gradients, part.parameters())]
        ratios.append(lengths[0] / lengths[1])
    for old, new, ratio in zip(parts, [*on.model.stages, on.model.head], ratios, strict=True):
        gradients = torch.autograd.grad(value, list(old.parameters()), retain_graph=True)
        for p, q, gradient in zip(old.parameters(), new.parameters(), gradients, strict=True):
            assert torch.allclose(q, p - 0.1 * ratio / max(ratios) * gradient, atol=1e-6)
    assert min(ratios) < 0.9 * max(ratios)


def test_auto_rgn_scales_the_scheduled_rate_and_no_more(lab):
    rates = []
    on = lab.tuning(lab.POINTS)
    fit = on.trainer.fit

    def spy(model, groups, **how):
        def look(optimizer):
            rates.append(max(group["lr"] for group in optimizer.param_groups))

        fit(model, groups, after_step=look, **how)

    on.trainer.fit = spy
    AutoRgn(lr=0.1).tune(on)
    cosine = 0.05 * (1 + np.cos(np.pi * np.arange(len(rates)) / len(rates)))
    assert rates == pytest.approx(cosine.tolist())


def test_a_gradient_is_relative_to_its_weights():
    weight, unused = torch.tensor([3.0, 4.0], requires_grad=True), torch.zeros(1, requires_grad=True)
    assert relative_gradient([weight]) == 0
    weight.grad = torch.tensor([0.0, 1.0])
    assert relative_gradient([weight, unused]) == pytest.approx(0.2)


def test_without_any_gradient_the_rates_are_zero_not_nan():
    weight = torch.ones(2, requires_grad=True)
    optimizer = _steps.stepping_by(scaled, Recipe("sgd", lr=0.1, weight_decay=0.0))([{"params": [weight]}])
    optimizer.step(lambda: torch.zeros(()))
    assert weight.tolist() == [1, 1]


def test_sam_steps_by_the_gradient_uphill(lab, step):
    on, before = step.one_step(Sam(rho=0.3), lab.POINTS, steps=2)
    batch = step.first_rows(on)

    def gradients(net):
        value = nn.functional.cross_entropy(net(on.train.x[batch]), on.train.y[batch])
        return step.gradients_of(net, value)

    here, uphill = gradients(before), copy.deepcopy(before)
    length = torch.cat([g.flatten() for g in here]).norm()
    with torch.no_grad():
        for p, g in zip(uphill.parameters(), here, strict=True):
            p.add_(0.3 * g / length)
    step.assert_stepped(on, before, gradients(uphill))


def test_climbing_gives_every_bit_back():
    weight, unused = torch.randn(9, requires_grad=True), torch.ones(1, requires_grad=True)
    weight.grad = torch.randn(9)
    old = weight.detach().clone()
    with climbed([weight, unused], 0.7):
        assert float((weight.detach() - old).norm()) == pytest.approx(0.7, rel=1e-5)
        assert unused.item() == 1
    assert torch.equal(weight, old)


def test_sam_does_nothing_with_a_budget_of_one_step(lab):
    on = lab.tuning(lab.POINTS)
    on.trainer._budget = 1
    before = lab.state(on.model)
    Sam().tune(on)
    assert lab.changed(before, on.model) == set()


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_ema_is_the_average_of_the_weights_after_every_step(lab, decay):
    on, seen = lab.tuning(lab.POINTS), []
    plain = lab.tuning(lab.POINTS)
    plain.trainer.fit(
        plain.model,
        [{"params": plain.model.parameters()}],
        after_step=lambda _: seen.append([p.detach().clone() for p in plain.model.parameters()]),
    )
    Ema(decay=decay).tune(on)
    average = seen[0]
    for weights in seen[1:]:
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    for ours, expected in zip(on.model.parameters(), average, strict=True):
        assert torch.allclose(ours, expected, atol=1e-6)


def test_ema_renews_the_statistics_of_batchnorm(lab):
    on = lab.tuning(lab.IMAGES)
    Ema().tune(on)
    first = on.model.stages[0]
    with torch.no_grad():
        activations = first[0](on.train.x)
    assert torch.allclose(first[1].running_mean, activations.mean((0, 2, 3)), atol=1e-4)
