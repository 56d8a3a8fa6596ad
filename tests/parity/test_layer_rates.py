"""`discriminative` against fastcore, `layer-decay` against timm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from finefuse import NotApplicable, Ref
from finefuse.discovery.registry import Registry
from finefuse.nets import Net
from finefuse.types import Recipe
from finefuse_zoo.backbones._stages import cut_timm
from finefuse_zoo.schemes.discriminative import Discriminative
from finefuse_zoo.schemes.layer_decay import LayerDecay, levels_of


@pytest.mark.parametrize(("lr", "ratio", "count"), [(1e-2, 100.0, 4), (3e-4, 7.0, 2), (1.0, 1e4, 13), (0.1, 1.0, 5)])
def test_equal_factors_are_fastais_even_multiples(lr, ratio, count):
    basics = pytest.importorskip("fastcore.basics")
    ours = Discriminative(spread="geometric", ratio=ratio).rates(lr, count)
    assert ours == pytest.approx(basics.even_mults(lr / ratio, lr, count), rel=1e-12)


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize(("decay", "least"), [(0.75, 0.0), (0.5, 0.2)])
def test_layer_decay_gives_every_parameter_of_timms_transformer_the_rate_and_decay_that_timm_does(
    lab, decay, least, registers
):
    optim, timm = pytest.importorskip("timm.optim"), pytest.importorskip("timm")
    with torch.random.fork_rng():
        vit = timm.create_model("test_vit", num_classes=3, reg_tokens=registers)
    kept, theirs = vit.no_weight_decay(), {}
    for group in optim.param_groups_layer_decay(
        vit, weight_decay=0.05, layer_decay=decay, min_scale=least, no_weight_decay_list=kept
    ):
        theirs |= {id(p): (0.1 * group["lr_scale"], group["weight_decay"]) for p in group["params"]}

    on, ours, head = lab.tuning(lab.IMAGES), {}, vit.get_classifier()
    net = Net(cut_timm(vit, head), head, Recipe("adamw", lr=0.1, weight_decay=0.05))

    def fit(model, groups, **how):
        for group in groups:
            decay = group.get("weight_decay", model.recipe.weight_decay)
            ours.update({id(p): (group["lr"], decay) for p in group["params"]})

    on.trainer.fit = fit
    LayerDecay(decay=decay, min_scale=least).tune(type(on)(**{**vars(on), "model": net}))
    assert set(ours) == set(theirs) == {id(p) for p in net.parameters()}
    for p in net.parameters():
        assert ours[id(p)] == pytest.approx(theirs[id(p)])
    named = dict(net.named_parameters())
    flat = [name for name, p in named.items() if p.ndim > 1 and ours[id(p)][1] == 0]
    assert {name.rpartition(".")[2] for name in flat} >= {"cls_token", "pos_embed"}


def test_a_stage_without_a_matrix_is_on_the_level_of_the_one_before():
    parts = [nn.LayerNorm(3), nn.Linear(3, 3), nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2)]
    assert levels_of(parts) == [0, 0, 1, 1, 2]
    assert levels_of(parts[1:]) == [0, 1, 1, 2]


@pytest.mark.parametrize("name", ["gradual-unfreeze", "discriminative", "layer-decay", "auto-rgn", "selective"])
def test_schemes_by_stage_refuse_a_network_of_one_stage(lab, name):
    scheme = Registry(("finefuse_zoo.hooks",), entry_points=False).build("scheme", Ref.of(name))
    on = lab.tuning(lab.IMAGES)
    net = Net([nn.Sequential(*on.model.stages)], on.model.head)
    with pytest.raises(NotApplicable, match=f"{name} works stage by stage, and the network has a single stage"):
        scheme.tune(type(on)(**{**vars(on), "model": net}))


def test_timm_sees_no_layers_in_a_torchvision_network_where_ours_has_stages():
    """The reason why the comparison above needs a network of timm's."""
    optim, vision = pytest.importorskip("timm.optim"), pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        groups = optim.param_groups_layer_decay(vision.resnet18(), layer_decay=0.5)
    assert {group["lr_scale"] for group in groups} == {1.0}
