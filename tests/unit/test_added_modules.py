"""Schemes that add modules to a frozen backbone: `feature-tune` and `side-tune`."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from finefuse import NotApplicable
from finefuse.nets import Net
from finefuse.testing import check_scheme, prepared
from finefuse_zoo.backbones.cnn import CnnS
from finefuse_zoo.backbones.vit import VitT
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.schemes._added_modules import SideBySide
from finefuse_zoo.schemes.feature_tune import FeatureTune
from finefuse_zoo.schemes.head_sgd import HeadSgd
from finefuse_zoo.schemes.side_tune import SideTune

CONV = FeatureTune(kind="conv")
ALL = [FeatureTune(), CONV, SideTune(), SideTune(share=1.0), SideTune(learn=False)]
TASKS = ["POINTS", "IMAGES", "LINE"]

each = pytest.mark.parametrize("scheme", ALL, ids=str)
on_each_task = pytest.mark.parametrize("task", TASKS)


def outputs(on):
    return on.trainer.outputs(on.model, on.val.x)


def error(on):
    seen, y = on.trainer.outputs(on.model, on.train.x), on.train.y
    return float(nn.functional.mse_loss(seen, y) if y.ndim == 2 else nn.functional.cross_entropy(seen, y))


@pytest.mark.parametrize("scheme", [CONV, SideTune(share=1.0)], ids=str)
def test_the_rules_of_the_kit(scheme):
    """The defaults are tried in tests/contract."""
    check_scheme(scheme)


@each
def test_it_learns(scheme, lab):
    on = prepared(scheme, lab.IMAGES, epochs=20)
    before = error(on)
    scheme.tune(on)
    assert error(on) < before


@on_each_task
@pytest.mark.parametrize("scheme", [FeatureTune(), SideTune(share=1.0)], ids=str)
def test_the_start_is_the_base(lab, scheme, task):
    task = getattr(lab, task)
    plain, on = lab.tuning(task), prepared(scheme, task)
    assert torch.allclose(outputs(plain), outputs(on), atol=1e-6)


@each
def test_the_backbone_keeps_every_bit_buffers_too(lab, scheme):
    on, base = prepared(scheme, lab.IMAGES), lab.network(lab.IMAGES)
    on.model.train()
    scheme.tune(on)
    tuned = on.model.stages[0].base if isinstance(scheme, SideTune) else on.model.stages
    kept = dict(tuned.state_dict())
    assert all(torch.equal(kept[name], tensor) for name, tensor in base.stages.state_dict().items())


# ------------------------------------------------------------------------------------------------------- feature-tune


@on_each_task
def test_scale_0_is_head_sgd(lab, task):
    task = getattr(lab, task)
    on, head = prepared(FeatureTune(scale=0.0), task), lab.tuning(task)
    FeatureTune(scale=0.0).tune(on)
    HeadSgd().tune(head)
    assert torch.equal(on.model.head.weight, head.model.head.weight)
    assert torch.equal(outputs(on), outputs(head))


def test_scale_0_is_head_sgd_with_convolutions_too(lab):
    on, head = prepared(replace(CONV, scale=0.0), lab.IMAGES), lab.tuning(lab.IMAGES)
    replace(CONV, scale=0.0).tune(on)
    HeadSgd().tune(head)
    assert torch.allclose(outputs(on), outputs(head), atol=1e-6)


@pytest.mark.parametrize("scheme", [FeatureTune(), CONV], ids=str)
@pytest.mark.parametrize("changes", [{"width": 5}, {"scale": 0.5}, {"lr": 0.01}], ids=str)
def test_every_parameter_changes_something(lab, scheme, changes):
    plain, other = prepared(scheme, lab.IMAGES), prepared(replace(scheme, **changes), lab.IMAGES)
    scheme.tune(plain)
    replace(scheme, **changes).tune(other)
    assert not torch.equal(outputs(plain), outputs(other))


def test_the_adapter_is_the_formula(lab):
    on = prepared(FeatureTune(width=5, scale=0.7), lab.POINTS)
    FeatureTune(width=5, scale=0.7).tune(on)
    adapter = on.model.stages[-1]
    f = Net(list(on.model.stages)[:-1], on.model.head).eval().features(on.val.x)
    down, up = adapter.down, adapter.up
    hidden = (f @ down.weight.T + down.bias).clamp(min=0)
    expected = f + 0.7 * (hidden @ up.weight.T + up.bias)
    assert torch.allclose(on.trainer.features(on.model, on.val.x), expected, atol=1e-6)
    assert down.weight.shape == (5, 6)
    assert on.trainer.trainable == 2 * 5 * 6 + 5 + 6 + 6 * 3 + 3


def test_the_convolutional_adapter_sits_before_the_pooling(lab):
    on = prepared(replace(CONV, width=5), lab.IMAGES)
    replace(CONV, width=5).tune(on)
    *trunk, (adapter, pool, flatten) = on.model.eval().stages
    image = nn.Sequential(*trunk)(on.val.x)
    assert image.ndim == 4
    mixed = nn.functional.conv2d(image, adapter.down.weight, adapter.down.bias, padding=1).relu()
    expected = (image + nn.functional.conv2d(mixed, adapter.up.weight, adapter.up.bias)).mean((2, 3))
    assert torch.allclose(on.trainer.features(on.model, on.val.x), expected, atol=1e-5)
    assert isinstance(pool, nn.AdaptiveAvgPool2d)
    assert isinstance(flatten, nn.Flatten)


@pytest.mark.parametrize(
    "last", [nn.Flatten(), nn.Sequential(nn.Flatten()), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())], ids=str
)
def test_without_a_feature_map_there_is_nothing_for_a_convolution(last):
    with pytest.raises(NotApplicable, match=r"no AdaptiveAvgPool2d\(1\)"):
        CONV.prepare(Net([nn.Conv2d(1, 4, 3), last], nn.Linear(16, 3)))


def test_the_cnn_of_the_zoo_can_be_adapted_by_convolutions_and_the_vit_can_not(lab):
    CONV.prepare(CnnS().build(lab.IMAGES))
    with pytest.raises(NotApplicable):
        CONV.prepare(VitT().build(lab.IMAGES))


# ---------------------------------------------------------------------------------------------------------- side-tune


@on_each_task
def test_alpha_1_trains_the_head_alone(lab, task):
    task, scheme = getattr(lab, task), SideTune(alpha=1.0, learn=False)
    on, head = prepared(scheme, task), lab.tuning(task)
    scheme.tune(on)
    head.trainer.fit(head.model, [{"params": head.model.head.parameters()}], norm="eval")
    assert torch.allclose(outputs(on), outputs(head), atol=1e-5)
    assert on.figures == {"alpha": 1.0}


def test_alpha_0_with_a_whole_copy_trains_everything(lab):
    scheme = SideTune(share=1.0, alpha=0.0, learn=False)
    on, full = prepared(scheme, lab.IMAGES), lab.tuning(lab.IMAGES)
    scheme.tune(on)
    full.trainer.fit(full.model, [{"params": full.model.parameters()}])
    assert torch.allclose(outputs(on), outputs(full), atol=1e-4)


def test_the_blend_is_the_formula(lab):
    on = prepared(SideTune(), lab.IMAGES)
    SideTune().tune(on)
    (stage,), x = on.model.eval().stages, on.val.x
    base, side = lab.network(lab.IMAGES).features(x), stage.side(x).mean((2, 3))
    assert len(stage.side) == 1
    assert 0 < on.figures["alpha"] < 1
    alpha = on.figures["alpha"]
    expected = alpha * base + (1 - alpha) * (side @ stage.project.weight.T + stage.project.bias)
    assert torch.allclose(on.trainer.features(on.model, x), expected, atol=1e-5)


def test_alpha_is_learned_or_not_and_never_decays(lab):
    learned, fixed, decayed = (prepared(SideTune(), lab.IMAGES) for _ in range(3))
    SideTune().tune(learned)
    SideTune(learn=False).tune(fixed)
    assert learned.figures["alpha"] != 0.5
    assert fixed.figures["alpha"] == 0.5
    decayed.model.recipe = replace(decayed.model.recipe, lr=1e-12, weight_decay=1e11)
    with torch.no_grad():
        decayed.model.head.weight.zero_()
    SideTune().tune(decayed)
    assert decayed.figures["alpha"] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_alpha_of_0_or_1_stays(lab, alpha):
    on = prepared(SideTune(alpha=alpha), lab.IMAGES)
    SideTune(alpha=alpha).tune(on)
    assert on.figures == {"alpha": alpha}


@pytest.mark.parametrize(
    "changes", [{"share": 1.0}, {"alpha": 0.9}, {"learn": False}, {"lr": 0.01}, {"norm": "eval"}], ids=str
)
def test_every_parameter_of_side_tuning_changes_something(lab, changes):
    plain, other = prepared(SideTune(), lab.IMAGES), prepared(SideTune(**changes), lab.IMAGES)
    SideTune().tune(plain)
    SideTune(**changes).tune(other)
    assert not torch.equal(outputs(plain), outputs(other))


@pytest.mark.parametrize("backbone", [CnnS(), VitT()], ids=str)
def test_side_tuning_on_the_networks_of_the_zoo(lab, backbone):
    torch.manual_seed(0)
    on = replace(lab.tuning(lab.IMAGES, epochs=1), model=backbone.build(lab.IMAGES))
    SideTune().prepare(on.model)
    SideTune().tune(on)
    (stage,) = on.model.stages
    assert len(stage.side) == 2


def test_the_base_is_never_in_training_mode(lab):
    on = prepared(SideTune(), lab.POINTS)
    (stage,) = on.model.train().stages
    assert stage.side.training
    assert not any(module.training for module in stage.base.modules())


class Turned(nn.Module):
    """Its output is not as wide as its last layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, x):
        return self.layer(x)[:, :5]


def test_stages_whose_width_can_not_be_told(lab):
    with pytest.raises(NotApplicable, match="no layer that tells their width"):
        SideTune().prepare(Net([nn.Flatten(), nn.Linear(4, 6)], nn.Linear(6, 3)))
    on = replace(lab.tuning(lab.POINTS), model=Net([Turned(), nn.Linear(5, 6)], nn.Linear(6, 3)))
    SideTune().prepare(on.model)
    with pytest.raises(NotApplicable, match="another width than their last layer"):
        SideTune().tune(on)


@pytest.mark.parametrize("shape", [(2, 5), (2, 7, 5), (2, 5, 3, 3)], ids=str)
def test_maps_and_tokens_are_averaged_over_their_positions(shape):
    stage = SideBySide(nn.ModuleList([nn.Linear(5, 5), nn.Linear(5, 6)]), 1, 6, 0.5)
    assert stage.fits(torch.ones(shape))
    assert not stage.fits(torch.ones(2, 6))


# --------------------------------------------------------------------------------------------------------- in fusions


@each
def test_tuned_networks_can_be_averaged(lab, scheme):
    nets = []
    for seed in (1, 2):
        on = prepared(scheme, lab.IMAGES)
        scheme.tune(replace(on, trainer=lab.trainer(on.task, on.train, seed=seed)))
        nets.append(on.model.eval())
    soup = Soup().fuse(lab.fusing(nets, lab.IMAGES))
    mean = (nets[0].head.weight + nets[1].head.weight) / 2
    assert torch.allclose(soup.head.weight, mean, atol=1e-7)
    with pytest.raises(NotApplicable, match="differ in architecture"):
        Soup().fuse(lab.fusing([copy.deepcopy(nets[0]), lab.network(lab.IMAGES)], lab.IMAGES))
