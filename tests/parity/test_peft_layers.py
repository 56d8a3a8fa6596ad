"""Adapters of peft go into the layers that peft gets right, and nowhere else."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from finefuse import NotApplicable, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse.nets import Net
from finefuse.types import Recipe
from finefuse_zoo.schemes._peft_adapters import ordinary, zero_padded
from finefuse_zoo.schemes.ia3 import Ia3
from finefuse_zoo.schemes.lora import Dora, Lora, RsLora

peft = pytest.importorskip("peft")


CONVOLUTIONS = {
    "plain": {},
    "strided": {"stride": 2},
    "1x1": {"kernel_size": 1, "padding": 0},
    "1x3": {"kernel_size": (1, 3)},
    "same": {"padding": "same"},
    "no bias": {"bias": False},
    "dilated": {"dilation": 2},
    "groups": {"groups": 2},
    "depthwise": {"out_channels": 4, "groups": 4},
    "reflect": {"padding_mode": "reflect"},
}


def faithful(config, layer):
    """Whether peft's adapter on a layer is merged to what it was."""
    torch.manual_seed(0)
    x, config.target_modules = torch.randn(3, 4, 8, 8), "0"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = peft.get_peft_model(nn.Sequential(layer), config).eval()
            for p in (p for p in adapted.parameters() if p.requires_grad):
                p.data += 0.3 * torch.randn(p.shape)
            unmerged = adapted(x)
            return bool((adapted.merge_and_unload()(x) - unmerged).abs().max() < 1e-5)
    except (NotImplementedError, RuntimeError):
        return False


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_adapters_go_where_peft_is_right_and_nowhere_else(name):
    def layer():
        torch.manual_seed(1)
        return nn.Conv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, "padding": 1, **CONVOLUTIONS[name]})

    assert faithful(peft.LoraConfig(r=4, lora_alpha=4), layer()) == ordinary(layer())
    assert faithful(peft.LoraConfig(r=4, lora_alpha=4, use_dora=True), layer()) == ordinary(layer())
    assert faithful(peft.LoHaConfig(r=4, alpha=4), layer()) == zero_padded(layer())
    assert faithful(peft.IA3Config(feedforward_modules=[]), layer())


def odd_net():
    torch.manual_seed(0)
    depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    dilated = nn.Sequential(nn.Conv2d(4, 6, 3, padding=2, dilation=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Net([nn.Conv2d(1, 4, 1), depthwise, dilated], nn.Linear(6, 3), Recipe("sgd", lr=0.05)).eval()


def test_layers_that_peft_gets_wrong_are_left_alone(lab):
    on = replace(lab.tuning(lab.IMAGES), model=odd_net())
    before = lab.state(on.model)
    Lora().tune(on)
    assert lab.changed(before, on.model) == {"stages.0.weight", "head.weight", "head.bias"}
    assert on.figures == {"adapted_layers": 1}


def test_a_layer_with_an_output_without_weights_has_no_direction_for_dora(lab):
    on = lab.tuning(lab.IMAGES)
    layers = [layer for layer in on.model.stages.modules() if type(layer) is nn.Conv2d]
    with torch.no_grad():
        layers[0].weight[1] = 0
    before = layers[0].weight.detach().clone()
    Dora().tune(on)
    assert torch.equal(layers[0].weight, before)
    assert on.figures == {"adapted_layers": len(layers) - 1}
    assert all(p.isfinite().all() for p in on.model.parameters())


@pytest.mark.parametrize("scheme", [Lora, RsLora, Dora])
def test_where_no_layer_is_left_the_scheme_does_not_apply(lab, scheme):
    on = replace(lab.tuning(lab.IMAGES), model=odd_net())
    with pytest.raises(NotApplicable) as caught:
        scheme(targets=re.compile("[12]")).tune(on)
    assert str(caught.value) == (
        "peft's LORA is right for none of the layers stages.1, stages.2.0: "
        "it fails at groups, dilation, a padding that isn't zeros, weights that layers share, "
        "and, for DoRA, an output whose weights are all 0"
    )
    with pytest.raises(NotApplicable, match=r"no layer's name has 'nowhere' in it; there are stages\.0, stages\.1"):
        scheme(targets=re.compile("nowhere")).tune(on)


def test_a_network_without_layers_to_adapt(lab):
    on = lab.tuning(lab.POINTS)
    model = Net([nn.Flatten(), nn.Tanh()], nn.Linear(4, 3))
    with pytest.raises(NotApplicable, match="the stages have no linear or 2-d convolutional layer"):
        Ia3().tune(replace(on, model=model))


class Attention(nn.Module):
    """(N, 4) as two tokens of two numbers; torch never calls the attention's own output projection."""

    def __init__(self):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(4, 4)

    def forward(self, x):
        tokens = x.reshape(-1, 2, 2)
        return self.out(self.attention(tokens, tokens, tokens, need_weights=False)[0].flatten(1))


def test_layers_that_are_never_called_are_left_alone(lab):
    torch.manual_seed(0)
    on = replace(lab.tuning(lab.POINTS), model=Net([Attention()], nn.Linear(4, 3)).eval())
    before = lab.state(on.model)
    Lora().tune(on)
    assert lab.changed(before, on.model) == {"stages.0.out.weight", "head.weight", "head.bias"}


def test_targets_are_a_regular_expression(lab):
    registry = Registry()
    scheme = registry.build("scheme", Ref.of("lora", targets=r"stages\.1"))
    on = lab.tuning(lab.POINTS)
    before = lab.state(on.model)
    scheme.tune(on)
    assert lab.changed(before, on.model) == {"stages.1.0.weight", "head.weight", "head.bias"}
    with pytest.raises(ParameterError, match="regular expression") as caught:
        registry.build("scheme", Ref.of("lora", targets="(("))
    assert caught.value.key == "targets"
