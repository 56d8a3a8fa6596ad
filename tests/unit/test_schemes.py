"""What each scheme trains and leaves alone, and how it spends its budget."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.gradual_unfreeze import GradualUnfreeze
from finefuse_zoo.schemes.head_sgd import HeadSgd
from finefuse_zoo.schemes.linear_probe import LinearProbe
from finefuse_zoo.schemes.lp_ft import LpFt

ALL = [Full(), LinearProbe(), HeadSgd(), GradualUnfreeze(), LpFt()]
FREEZING = [LinearProbe(), HeadSgd(), HeadSgd(optimizer="sgd")]


def names(schemes):
    return [type(s).__name__ for s in schemes]


def tasks(lab):
    return [lab.POINTS, lab.IMAGES, lab.LINE]


@pytest.mark.parametrize("scheme", ALL, ids=names(ALL))
@pytest.mark.parametrize("which", [0, 1, 2], ids=["points", "images", "regression"])
def test_every_scheme_improves_the_training_loss_of_every_task(lab, scheme, which):
    task = tasks(lab)[which]
    on = lab.tuning(task, epochs=20)

    def loss():
        outputs = on.trainer.outputs(on.model, on.train.x)
        if task.kind == "regression":
            return float(torch.nn.functional.mse_loss(outputs, on.train.y))
        return float(torch.nn.functional.cross_entropy(outputs, on.train.y))

    before = loss()
    scheme.tune(on)
    assert loss() < before
    assert on.trainer.spent <= on.trainer.budget


@pytest.mark.parametrize("scheme", FREEZING, ids=names(FREEZING))
def test_frozen_backbones_keep_every_bit_buffers_too(lab, scheme):
    on = lab.tuning(lab.IMAGES)
    on.model.train()
    before = lab.state(on.model)
    scheme.tune(on)
    assert lab.changed(before, on.model) == {"head.weight", "head.bias"}


def test_full_trains_everything_at_the_recipes_rate(lab):
    on, explicit = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    Full().tune(on)
    Full(lr=0.05).tune(explicit)
    assert set(before) == lab.changed(before, on.model)
    assert lab.changed(lab.state(explicit.model), on.model) == set()
    other = lab.tuning(lab.IMAGES)
    Full(lr=0.01).tune(other)
    assert lab.changed(lab.state(other.model), on.model)


def test_full_with_kept_statistics(lab):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    Full(norm="affine").tune(on)
    assert not any("running" in name for name in lab.changed(before, on.model))


def test_gradual_unfreezing_trains_one_more_stage_per_phase(lab):
    on = lab.tuning(lab.IMAGES)
    phases = []
    fit = on.trainer.fit

    def spy(model, groups, **kwargs):
        groups = [{**group, "params": list(group["params"])} for group in groups]
        before = lab.state(model)
        fit(model, groups, **kwargs)
        phases.append(
            {name.split(".")[1] if name.startswith("stages") else "head" for name in lab.changed(before, model)}
        )

    on.trainer.fit = spy
    GradualUnfreeze().tune(on)
    assert phases == [{"head"}, {"head", "1"}, {"head", "1", "0"}]
    assert on.trainer.spent == on.trainer.budget


def test_lp_ft_starts_from_the_probe_and_spends_half_the_budget(lab):
    probe, both = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    LinearProbe(C=0.3).tune(probe)
    LpFt(C=0.3, lr=1e-30, norm="affine").tune(both)
    assert torch.equal(probe.trainer.outputs(probe.model, probe.val.x), both.trainer.outputs(both.model, both.val.x))
    assert both.trainer.spent == both.trainer.budget // 2


def test_the_probe_is_at_the_optimum(lab):
    on = lab.tuning(lab.IMAGES)
    LinearProbe(C=2.0).tune(on)
    weight, bias = (p.detach().double().requires_grad_() for p in (on.model.head.weight, on.model.head.bias))
    z = on.trainer.features(on.model, on.train.x).double() @ weight.T + bias
    value = 0.5 * weight.square().sum() + 2.0 * torch.nn.functional.cross_entropy(z, on.train.y, reduction="sum")
    gradients = torch.autograd.grad(value, (weight, bias))
    assert max(float(g.abs().max()) for g in gradients) < 1e-3 * math.sqrt(len(on.train))


@pytest.mark.parametrize("smaller", [1e-3, 0.1])
def test_a_smaller_C_gives_smaller_weights(lab, smaller):
    loose, tight = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    LinearProbe(C=1.0).tune(loose)
    LinearProbe(C=smaller).tune(tight)
    assert tight.model.head.weight.norm() < loose.model.head.weight.norm()


def test_head_sgd_uses_its_own_optimizer(lab):
    adam, sgd = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    HeadSgd().tune(adam)
    HeadSgd(optimizer="sgd").tune(sgd)
    assert not torch.equal(adam.model.head.weight, sgd.model.head.weight)


def test_lp_ft_takes_the_recipe_s_rate_and_norm_after_a_probe(lab):
    def tuned(scheme, **recipe):
        on = lab.tuning(lab.IMAGES)
        on.model.recipe = replace(on.model.recipe, **recipe)
        scheme.tune(on)
        return lab.state(on.model)

    own = tuned(LpFt(), lr_after_probe=1e-4, norm_after_probe="eval")
    given = tuned(LpFt(lr=1e-4, norm="eval"))
    usual, plain = tuned(LpFt()), tuned(LpFt(lr=lab.cnn().recipe.lr, norm="train"))
    assert all(torch.equal(own[name], given[name]) for name in own)
    assert all(torch.equal(usual[name], plain[name]) for name in usual)
    assert any(not torch.equal(own[name], usual[name]) for name in own)
