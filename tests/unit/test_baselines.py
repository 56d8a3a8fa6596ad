"""as-is, zero-step and scratch: what no training, and no pretraining, are worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import nn

from finefuse import Classification
from finefuse.errors import NotApplicable
from finefuse.types import Data
from finefuse_zoo.backbones.vit import VitT
from finefuse_zoo.schemes.as_is import AsIs
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.scratch import Scratch
from finefuse_zoo.schemes.zero_step import ZeroStep

# ------------------------------------------------------------------------------------------------------------ zero-step


@pytest.mark.parametrize("which", ["IMAGES", "POINTS"])
def test_zero_step_predicts_the_nearest_centroid(lab, which):
    on = lab.tuning(getattr(lab, which))
    ZeroStep().tune(on)
    x, y = on.trainer.features(on.model, on.train.x), on.train.y
    reference = NearestCentroid().fit(x.numpy(), y.numpy())
    ours = on.trainer.outputs(on.model, on.val.x).argmax(-1)
    assert ours.tolist() == reference.predict(on.trainer.features(on.model, on.val.x).numpy()).tolist()


def test_zero_step_outputs_are_the_squared_distances_but_for_a_shift(lab):
    on = lab.tuning(lab.IMAGES)
    ZeroStep().tune(on)
    f, y = on.trainer.features(on.model, on.val.x), on.train.y
    means = torch.stack([on.trainer.features(on.model, on.train.x)[y == label].mean(0) for label in range(3)])
    expected = -0.5 * torch.cdist(f, means).square() + 0.5 * f.square().sum(1, keepdim=True)
    assert torch.allclose(on.trainer.outputs(on.model, on.val.x), expected, atol=1e-5)


def test_zero_step_touches_the_head_alone_and_takes_no_steps(lab):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    ZeroStep().tune(on)
    assert lab.changed(before, on.model) == {"head.weight", "head.bias"}
    assert on.trainer.spent == 0


def test_zero_step_is_for_classes():
    assert ZeroStep.kinds == ("classification",)


def test_zero_step_refuses_a_class_without_examples(lab):
    on = lab.tuning(lab.IMAGES)
    kept = on.train.y != 1
    with pytest.raises(NotApplicable, match="class 1 has no training example"):
        ZeroStep().tune(replace(on, train=Data(on.train.x[kept], on.train.y[kept])))


# -------------------------------------------------------------------------------------------------------------- scratch


def test_scratch_owes_nothing_to_the_pretrained_weights(lab):
    nets = []
    for seed in (0, 1):
        on = replace(lab.tuning(lab.IMAGES), model=lab.cnn(seed=seed))
        Scratch().tune(on)
        nets.append(on.model)
    assert lab.changed(lab.state(nets[0]), nets[1]) == set()


def test_scratch_is_full_from_the_weights_that_it_draws(lab):
    on, by_hand = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    Scratch().tune(on)
    seed = int(torch.randint(2**62, (), generator=by_hand.rng))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in by_hand.model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    Full().tune(by_hand)
    assert lab.changed(lab.state(on.model), by_hand.model) == set()


def test_scratch_draws_other_weights_for_another_seed(lab):
    one, other = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    Scratch(lr=1e-30).tune(one)
    Scratch(lr=1e-30).tune(replace(other, rng=torch.Generator().manual_seed(8)))
    assert not torch.equal(one.model.head.weight, other.model.head.weight)


def test_scratch_forgets_the_statistics_of_batch_norm(lab):
    on = lab.tuning(lab.IMAGES)
    Scratch(norm="affine").tune(on)
    assert on.model.stages[0][1].running_mean.tolist() == [0.0] * 4
    assert on.model.stages[0][1].running_var.tolist() == [1.0] * 4


def test_scratch_draws_every_parameter_of_a_transformer(lab):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = VitT(head_width=2).build(Classification(3, "image", (1, 8, 8)))
    before = lab.state(net)
    Scratch(lr=1e-30).tune(replace(lab.tuning(lab.IMAGES), model=net))
    same = set(before) - {name for name in before if not torch.allclose(before[name], net.state_dict()[name])}
    assert all("weight" in name or "bias" in name for name in same)  # the ones and zeros of LayerNorm
    assert "stages.0.positions" not in same
    assert float(net.stages[0].positions.detach().std()) == pytest.approx(0.5, rel=0.2)


def test_scratch_refuses_weights_that_it_can_not_draw(lab):
    on = lab.tuning(lab.POINTS)
    on.model.stages[1].add_module("odd", nn.ParameterList([torch.ones(2)]))
    with pytest.raises(NotApplicable, match=r"stages\.1\.odd \(ParameterList\) has weights and no reset_parameters"):
        Scratch().tune(on)


def test_scratch_draws_attention_too(lab):
    on = lab.tuning(lab.POINTS)
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    on.model.stages[1] = attention
    before = lab.state(attention)
    Scratch(lr=1e-30).tune(on)
    assert "self_attn.in_proj_weight" in lab.changed(before, attention)


# ---------------------------------------------------------------------------------------------------------------- as-is


def test_as_is_is_the_pretrained_network_bit_by_bit(lab):
    on = lab.tuning(lab.IMAGES)
    on = replace(on, pretrained=lab.network(lab.IMAGES, seed=5))
    AsIs().tune(on)
    assert lab.changed(lab.state(on.pretrained), on.model) == set()
    assert on.trainer.spent == 0


def test_as_is_needs_a_head_of_the_task_s_size(lab):
    with pytest.raises(NotApplicable, match="the source head has 5 outputs, the task 3"):
        AsIs().tune(lab.tuning(lab.IMAGES))
