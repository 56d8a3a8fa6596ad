"""Schemes that draw what they train or keep, and one that teaches itself: against bare loops and formulas."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from finefuse import NotApplicable
from finefuse.types import Recipe
from finefuse_zoo.schemes.ema import Ema
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.mean_teacher import MeanTeacher
from finefuse_zoo.schemes.mixout import Mixout, mixed
from finefuse_zoo.schemes.shira import Shira


def tuned(lab, scheme, task=None, **given):
    on = lab.tuning(task or lab.IMAGES, **given)
    scheme.tune(on)
    return on.model


def the_same(lab, one, other):
    return lab.changed(lab.state(one), other) == set()


# ------------------------------------------------------------------------------------------------------------ mixout


@pytest.mark.parametrize(
    "layer", [nn.Linear(6, 5), nn.Conv2d(6, 4, 3, padding=1, groups=2), nn.Conv1d(6, 4, 1, bias=False)]
)
def test_mixout_is_the_papers_formula(layer):
    torch.manual_seed(0)
    shape = {nn.Linear: (3, 6), nn.Conv2d: (3, 6, 7, 7), nn.Conv1d: (3, 6, 9)}[type(layer)]
    x, start, plain = torch.randn(shape), layer.weight.detach().clone(), layer.forward
    forward = mixed(layer.train(), 0.4)
    layer.weight.data += torch.randn_like(layer.weight)
    now = layer.weight.detach().clone()
    torch.manual_seed(7)
    made = forward(x)
    torch.manual_seed(7)
    mask = (torch.nn.functional.dropout(torch.ones_like(now), 0.4) == 0).to(now)
    layer.weight.data = (mask * start + (1 - mask) * now - 0.4 * start) / 0.6
    assert 0 < mask.mean() < 1
    assert torch.allclose(made, plain(x), atol=1e-5)
    assert torch.equal(mixed(layer.eval(), 0.4)(x), plain(x))


def test_mixout_without_mixing_is_full_and_leaves_layers_plain(lab):
    assert the_same(lab, tuned(lab, Full()), tuned(lab, Mixout(p=0.0)))
    one, again = tuned(lab, Mixout(p=0.5)), tuned(lab, Mixout(p=0.5))
    assert the_same(lab, one, again)
    assert lab.changed(lab.state(one), tuned(lab, Mixout(p=0.6)))
    assert all("forward" not in vars(module) for module in one.modules())


def test_mixout_needs_a_layer(lab):
    on = lab.tuning(lab.POINTS)
    on.model.stages = nn.ModuleList([nn.Flatten(), nn.Tanh()])
    with pytest.raises(NotApplicable, match="the stages have no linear or convolutional layer"):
        Mixout().tune(on)


# ------------------------------------------------------------------------------------------------------- mean teacher


@pytest.mark.parametrize("task", ["POINTS", "LINE"])
def test_mean_teacher_against_a_bare_loop(lab, task):
    task = getattr(lab, task)
    on, by_hand = lab.tuning(task), lab.tuning(task)
    net, teacher = by_hand.model, copy.deepcopy(by_hand.model).eval()
    seen = 0

    def loss(outputs, batch):
        with torch.no_grad():
            wanted = teacher(batch.x)
        answers = [o.softmax(1) if task.classes else o for o in (outputs, wanted)]
        return task.loss(outputs, batch.y) + 3.0 * ((answers[0] - answers[1]) ** 2).mean()

    def after(_):
        nonlocal seen
        seen += 1
        for old, new in zip(teacher.parameters(), net.parameters(), strict=True):
            old.data = new.data.clone() if seen == 1 else 0.8 * old.data + 0.2 * new.data

    by_hand.trainer.fit(net, [{"params": net.parameters(), "lr": 0.03}], loss=loss, after_step=after)
    MeanTeacher(strength=3.0, decay=0.8, lr=0.03).tune(on)
    for ours, wanted in zip(on.model.parameters(), teacher.parameters(), strict=True):
        assert torch.allclose(ours, wanted, atol=1e-5)


def test_mean_teacher_without_strength_is_the_average_of_full(lab):
    one, other = tuned(lab, MeanTeacher(strength=0.0)), tuned(lab, Ema())
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    assert lab.changed(lab.state(one), tuned(lab, MeanTeacher(strength=5.0)))


# -------------------------------------------------------------------------------------------------------------- shira


@pytest.mark.parametrize(
    "recipe", [Recipe("sgd", lr=0.05, weight_decay=0.1), Recipe("adamw", lr=0.01, weight_decay=0.1)]
)
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_shira_trains_its_share_and_keeps_every_other_bit(lab, recipe, share):
    on = lab.tuning(lab.IMAGES)
    on.model.recipe = recipe
    before = copy.deepcopy(on.model)
    Shira(share=share).tune(on)
    for (name, old), new in zip(before.stages.named_parameters(), on.model.stages.parameters(), strict=True):
        moved = int((old != new).sum())
        if old.ndim < 2:
            assert moved == 0, name
        else:
            assert 0 < moved <= max(1, int(share * old.numel())), name
    assert not torch.equal(before.head.weight, on.model.head.weight)
    assert all(torch.equal(a, b) for a, b in zip(before.buffers(), on.model.buffers(), strict=True))
    assert not any(p._backward_hooks for p in on.model.parameters())


def test_shira_against_a_bare_loop_that_puts_weights_back(lab):
    on, own = lab.tuning(lab.POINTS), lab.tuning(lab.POINTS)
    weights = [p for p in own.model.stages.parameters() if p.ndim > 1]
    start, masks = [p.detach().clone() for p in weights], []
    for p in weights:
        mask = torch.zeros(p.numel())
        mask[torch.randperm(p.numel(), generator=own.rng)[: max(1, int(0.3 * p.numel()))]] = 1
        masks.append(mask.view(p.shape))

    def put_back(_):
        for p, old, mask in zip(weights, start, masks, strict=True):
            p.data = p.data * mask + old * (1 - mask)

    groups = [{"params": weights, "lr": 0.05, "weight_decay": 0.0}, {"params": own.model.head.parameters(), "lr": 0.05}]
    own.trainer.fit(own.model, groups, after_step=put_back, norm="eval")
    Shira(share=0.3, lr=0.05).tune(on)
    assert all(
        torch.allclose(p, q, atol=1e-6) for p, q in zip(on.model.parameters(), own.model.parameters(), strict=True)
    )


def test_shira_needs_a_matrix(lab):
    on = lab.tuning(lab.POINTS)
    on.model.stages = nn.ModuleList([nn.BatchNorm1d(4)])
    with pytest.raises(NotApplicable, match="the stages have no weights that are matrices"):
        Shira().tune(on)
