"""Weight averages that look at data: fisher, regmean, adamerging."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from finefuse import nets
from finefuse.errors import NotApplicable, PluginError
from finefuse_zoo.fusions import _curvature as curvature
from finefuse_zoo.fusions.adamerging import AdaMerging
from finefuse_zoo.fusions.fisher import Fisher, weighted
from finefuse_zoo.fusions.regmean import RegMean

ALL = [Fisher(), RegMean(), AdaMerging()]
AVERAGES = [Fisher(samples=20), Fisher(samples=20, labels="sampled"), RegMean(samples=20)]


def predict(model, x):
    with nets.evaluation(model):
        return model(x)


@pytest.fixture(scope="module")
def trained(lab):
    return lab.tuned(lab.IMAGES, 3)


@pytest.fixture
def of(lab, trained):
    return lab.fusing(trained, lab.IMAGES)


# ------------------------------------------------------------------------------------------------- all three


@pytest.mark.parametrize("fusion", ALL, ids=str)
def test_other_architectures_are_refused_before_anything_is_computed(lab, trained, fusion):
    wide = copy.deepcopy(trained[0])
    wide.stages.append(nn.Linear(6, 6))
    with pytest.raises(NotApplicable, match="differ in architecture"):
        fusion.fuse(lab.fusing([trained[0], wide], lab.IMAGES))


@pytest.mark.parametrize("fusion", AVERAGES, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_equal_members_give_the_member_to_the_bit(lab, trained, fusion, count):
    fused = fusion.fuse(lab.fusing([trained[0]] * count, lab.IMAGES))
    assert lab.changed(lab.state(trained[0]), fused) == set()


@pytest.mark.parametrize("fusion", AVERAGES, ids=str)
def test_an_average_lies_between_members_where_they_agree(lab, trained, fusion):
    half = copy.deepcopy(trained[0])
    with torch.no_grad():
        half.head.bias.add_(1.0)
    fused = fusion.fuse(lab.fusing([trained[0], half], lab.IMAGES))
    assert all(name.startswith("head") or "running" in name for name in lab.changed(lab.state(trained[0]), fused))
    moved = fused.head.bias - trained[0].head.bias
    assert ((moved > 0) & (moved < 1)).all()


@pytest.mark.parametrize("fusion", [Fisher(), RegMean()], ids=str)
def test_regression_is_averaged_too(lab, fusion):
    of = lab.fusing(lab.tuned(lab.LINE, 2), lab.LINE)
    score = lab.LINE.quality(predict(fusion.fuse(of), of.val.x), of.val)
    assert score > min(m.score for m in of.members)


@pytest.mark.parametrize("kind", [Fisher, RegMean, AdaMerging])
def test_recalibration_changes_statistics_only(of, lab, kind):
    renewed, stale = kind().fuse(of), None
    of.rng.manual_seed(0)
    stale = kind(recalibrate=False).fuse(lab.fusing([m.net for m in of.members], lab.IMAGES))
    touched = lab.changed(lab.state(stale), renewed)
    assert touched
    assert all("running" in name for name in touched)


# ------------------------------------------------------------------------------------------------- fisher


def by_loops(net, task, x):
    """The diagonal of the Fisher information, one gradient per example and class."""
    total = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for example in x:
        outputs = net(example[None])[0]
        if task.kind == "classification":
            values, shares = outputs.log_softmax(-1), outputs.detach().softmax(-1)
        else:
            values, shares = outputs, torch.ones_like(outputs)
        for value, share in zip(values, shares, strict=True):
            gradients = torch.autograd.grad(value, net.parameters(), retain_graph=True)
            for name, gradient in zip(total, gradients, strict=True):
                total[name] += share * gradient.square() / len(x)
    return total


@pytest.mark.parametrize("task", ["POINTS", "IMAGES", "LINE"])
def test_fisher_information_is_that_of_a_loop_over_examples_and_classes(lab, task, monkeypatch):
    task = getattr(lab, task)
    net, x = lab.tuned(task, 1)[0], lab.data(task, 7).x
    expected = by_loops(net, task, x)
    count = sum(p.numel() for p in net.parameters())
    for held, large in ((2**26, 2**20), (3 * count, 2**20), (2**26, 0)):  # all at once, three at a time, one by one
        monkeypatch.setattr(curvature, "HELD", held)
        monkeypatch.setattr(curvature, "LARGE", large)
        found = curvature.fisher(net, task, x)
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[name], f, rtol=1e-4, atol=1e-9) for name, f in expected.items())


def test_squared_gradients_of_a_batch_are_something_else(lab, trained):
    net, x = trained[0], lab.data(lab.IMAGES, 16).x
    exact = curvature.fisher(net, lab.IMAGES, x)["head.weight"]
    logp = net(x).log_softmax(-1)
    (gradient,) = torch.autograd.grad((logp.exp().detach() * logp).sum() / 16, [net.head.weight])
    assert (gradient.square() - exact).norm() > 0.5 * exact.norm()


@pytest.mark.parametrize("task", ["POINTS", "LINE"])
def test_sampled_labels_come_near_the_expectation(lab, task):
    task = getattr(lab, task)
    net, x, rng = lab.network(task), lab.data(task, 10).x, torch.Generator().manual_seed(2)
    exact, many = curvature.fisher(net, task, x), curvature.fisher(net, task, x.repeat(1000, *[1] * (x.ndim - 1)), rng)
    assert all((many[name] - f).norm() < 0.05 * f.norm() for name, f in exact.items())
    assert any(not torch.equal(many[name], f) for name, f in exact.items())


def test_fisher_averages_weight_by_weight(lab, trained):
    of = lab.fusing(trained[:2], lab.IMAGES)
    fused = Fisher(samples=1000, floor=1e-3).fuse(of)
    f = [by_loops(net, lab.IMAGES, of.train.x) for net in trained[:2]]
    for name, p in fused.named_parameters():
        one, two = (dict(net.named_parameters())[name] for net in trained[:2])
        u, v = (g[name].clamp_min(1e-3) for g in f)
        assert torch.allclose(p, (u * one + v * two) / (u + v), atol=1e-5)


def test_one_hot_importance_gives_that_member_and_equal_ones_the_mean():
    x, y = torch.randn(5), torch.randn(5)
    on, off = torch.ones(5), torch.zeros(5)
    assert torch.equal(weighted([x, y], [off, on]).float(), y)
    assert torch.allclose(weighted([x, y], [on, on]).float(), (x + y) / 2)
    assert torch.allclose(weighted([x, y], [off * 0, off * 0]).float(), (x + y) / 2)


def test_a_floor_above_all_gives_the_mean(lab, of, trained):
    fused = Fisher(floor=1e9).fuse(of)
    for name, p in fused.named_parameters():
        assert torch.allclose(p, sum(dict(net.named_parameters())[name] for net in trained) / 3, atol=1e-6)


# ------------------------------------------------------------------------------------------------- regmean


@pytest.mark.parametrize("kwargs", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": "same"},
                                    {"padding": 1, "padding_mode": "circular"}], ids=str)  # fmt: skip
def test_a_convolution_is_its_unfolded_inputs_times_its_weights(kwargs):
    conv, x = nn.Conv2d(3, 5, 3, **kwargs), torch.randn(2, 3, 7, 8)
    rows = curvature.layer_inputs(conv, x)
    outputs = rows @ conv.weight.detach().double().flatten(1).T + conv.bias.detach()
    assert torch.allclose(outputs.float(), conv(x).permute(0, 2, 3, 1).flatten(0, 2), atol=1e-5)


def test_merged_layers_solve_the_normal_equations(lab, trained):
    of = lab.fusing(trained, lab.IMAGES)
    fused, damping = RegMean(samples=1000, a=0.9).fuse(of), 0.9 + 0.1 * torch.eye(36, dtype=torch.float64)
    left, right = torch.zeros(36, 36, dtype=torch.float64), torch.zeros(36, 6, dtype=torch.float64)
    for net in trained:
        maps = net.stages[0](of.train.x).detach()
        x = nn.functional.unfold(maps, 3, 1, 1, 2).transpose(1, 2).flatten(0, 1).double()
        gram = x.T @ x * damping
        left, right = left + gram, right + gram @ net.stages[1][0].weight.detach().flatten(1).T.double()
    weight = fused.stages[1][0].weight.detach().double().flatten(1).T
    assert torch.allclose(left @ weight, right, rtol=1e-4, atol=1e-3 * right.abs().max().item())
    assert torch.allclose(weight, torch.linalg.solve(left, right), atol=1e-5)


def test_what_is_no_layer_is_averaged(lab, trained, of):
    fused = RegMean().fuse(of)
    for name in ("stages.0.0.bias", "stages.0.1.weight", "head.bias"):
        mean = sum(dict(net.named_parameters())[name] for net in trained) / 3
        assert torch.allclose(fused.get_parameter(name), mean, atol=1e-6)


def test_grouped_convolutions_are_averaged_and_dead_inputs_keep_the_mean(lab):
    def net(seed):
        torch.manual_seed(seed)
        first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2))
        last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.ReLU())
        made = nets.Net([first, last], nn.Linear(5, 3)).eval()
        with torch.no_grad():
            last[2].weight[0], last[2].bias[0] = 0.0, -1.0
        return made

    members = [net(0), net(1)]
    fused = RegMean(a=1.0).fuse(lab.fusing(members, lab.IMAGES))
    grouped = [m.stages[0][2].weight for m in members]
    assert torch.allclose(fused.stages[0][2].weight, sum(grouped) / 2)
    assert torch.allclose(fused.head.weight[:, 0], sum(m.head.weight[:, 0] for m in members) / 2, atol=1e-6)
    assert not torch.allclose(fused.head.weight[:, 1:], sum(m.head.weight[:, 1:] for m in members) / 2, atol=1e-3)


def test_tied_weights_get_one_value(lab):
    def tied(seed):
        torch.manual_seed(seed)
        net = lab.mlp(seed=seed)
        net.stages[1][0] = nn.Linear(8, 8)
        net.stages.append(nn.Sequential(nn.Linear(6, 8), net.stages[1][0], nn.Linear(8, 6)))
        return net.eval()

    members = [tied(0), tied(1)]
    for fusion in (*AVERAGES, AdaMerging(steps=2)):
        of = lab.fusing(members)
        of = of.__class__(**{**vars(of), "base": tied(2)})
        fused = fusion.fuse(of)
        assert torch.equal(fused.stages[1][0].weight, fused.stages[3][1].weight)


# ------------------------------------------------------------------------------------------------- adamerging


def test_lambda_0_gives_the_base(lab, of):
    fused = AdaMerging(start=0.0, steps=0).fuse(of)
    base = dict(of.base.named_parameters())
    assert all(torch.equal(p, base[name]) for name, p in fused.named_parameters())


def test_without_steps_it_is_task_arithmetic(lab, trained, of):
    fused = AdaMerging(start=0.4, steps=0).fuse(of)
    base = dict(of.base.named_parameters())
    for name, p in fused.named_parameters():
        change = sum(dict(net.named_parameters())[name] - base[name] for net in trained)
        assert torch.allclose(p, base[name] + 0.4 * change, atol=1e-6)


def entropy(net, x):
    logp = predict(net, x).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1).mean().item()


def test_entropy_on_the_test_inputs_falls(lab):
    of = lab.fusing(lab.tuned(lab.POINTS, 3))
    before, after = (entropy(AdaMerging(lr=0.1, steps=n).fuse(of), of.test_inputs) for n in (0, 60))
    assert after < 0.8 * before < 0.8 * math.log(3)


def test_lambdas_follow_plain_gradients_on_what_it_is_given(lab):
    members = lab.tuned(lab.POINTS, 2)
    of = lab.fusing(members)
    fused = AdaMerging(lr=0.1, steps=1).fuse(of)
    rows = torch.randperm(len(of.test_inputs), generator=torch.Generator().manual_seed(0))[:16]
    base, net = dict(of.base.named_parameters()), copy.deepcopy(of.base)
    states = [dict(m.named_parameters()) for m in members]
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(base[name] + 0.3 * sum(state[name] - base[name] for state in states))
    logp = net.eval()(of.test_inputs[rows]).log_softmax(-1)
    (-(logp.exp() * logp).sum(-1).mean()).backward()
    for name, p in net.named_parameters():  # Adam's first step is lr * sign of the gradient
        slopes = [(p.grad * (state[name] - base[name])).sum() for state in states]
        lambdas = [0.3 - 0.1 * slope / (slope.abs() + 1e-8) for slope in slopes]
        moved = sum(w * (state[name] - base[name]) for w, state in zip(lambdas, states, strict=True))
        assert torch.allclose(fused.get_parameter(name), base[name] + moved, atol=1e-4)


def test_it_needs_a_base_and_classes(lab, trained):
    of = lab.fusing(trained, lab.IMAGES, needs=("trainer", "test inputs"))
    with pytest.raises(PluginError, match=r"reads `of\.base` and its `needs` don't name 'base'"):
        AdaMerging().fuse(of)
    assert AdaMerging.kinds == ("classification",)
