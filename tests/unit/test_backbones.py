"""cnn-s and vit-t: their stages are the whole network, they learn, and they read without torch."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from finefuse import Classification, NotApplicable, Ref, Regression, Task
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net, norm_layers
from finefuse.types import Budget, Tuning
from finefuse_zoo.backbones._blocks import Attention, MeanTokens, Patches, Residual, conv_norm
from finefuse_zoo.backbones.cnn import CnnS
from finefuse_zoo.backbones.vit import VitT
from finefuse_zoo.datasets.digits import Digits
from finefuse_zoo.datasets.letters import Letters

BOTH = [CnnS(), VitT()]
TASK = Digits.task
WIDTH = {CnnS(): 16, VitT(): 48}

both = pytest.mark.parametrize("backbone", BOTH, ids=["cnn-s", "vit-t"])


def build(backbone, task: Task = TASK, seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return backbone.build(task)


def no_scheme(spec):
    raise AssertionError("a backbone is not made of schemes")


def images(n: int = 5, channels: int = 1, side: int = 8) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------------------------ the nets


@both
def test_shapes_are_those_of_the_task(backbone):
    net = build(backbone).eval()
    assert net.features(images()).shape == (5, WIDTH[backbone])
    assert net(images()).shape == (5, 10)
    assert net.head.in_features == WIDTH[backbone]


@both
def test_stages_and_head_hold_every_parameter_and_buffer_once(backbone):
    net = build(backbone)
    for kind in ("parameters", "buffers"):
        whole = [id(t) for t in getattr(net, kind)()]
        apart = [id(t) for part in [*net.stages, net.head] for t in getattr(part, kind)()]
        assert sorted(apart) == sorted(whole)
        assert len(set(whole)) == len(whole)
    assert all(any(True for _ in stage.parameters()) for stage in net.stages)


@both
def test_every_parameter_gets_a_gradient(backbone):
    net = build(backbone)
    net(images()).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert [name for name, p in net.named_parameters() if not p.grad.abs().sum()] == []


@both
def test_a_state_dict_rebuilds_the_network(backbone):
    net, other = build(backbone).eval(), build(backbone, seed=1).eval()
    assert not torch.equal(net(images()), other(images()))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(images()), other(images()))


@both
def test_weights_follow_torchs_global_seed(backbone):
    one, same, other = build(backbone), build(backbone), build(backbone, seed=1)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)


@both
def test_an_example_does_not_depend_on_its_batch_in_evaluation(backbone):
    net = build(backbone).eval()
    assert torch.allclose(net(images(6))[2:3], net(images(6)[2:3]), atol=1e-5)


@both
def test_training_mode_makes_finite_outputs_from_any_legal_pixels(backbone):
    x = torch.stack([torch.full((1, 8, 8), v) for v in (-5 / 6, 0.0, 11 / 6)])
    assert build(backbone).train()(x).isfinite().all()


@both
def test_other_image_tasks_get_a_network_too(backbone):
    task = Regression(3, "image", (2, 12, 12))
    assert build(backbone, task).eval()(images(4, 2, 12)).shape == (4, 3)


def test_parameters_set_the_sizes():
    assert build(CnnS(width=4)).head.in_features == 4
    assert build(VitT(head_width=3)).head.in_features == 12
    assert len(build(VitT(depth=3)).stages) == len(build(VitT(depth=2)).stages) + 1 == 5


def test_only_the_cnn_has_batch_norm():
    assert len(list(norm_layers(build(CnnS())))) == 7
    assert list(norm_layers(build(VitT()))) == []


def test_the_sizes_are_the_documented_ones():
    sizes = [sum(p.numel() for p in build(one, Letters.task).parameters()) for one in BOTH]
    assert sizes == [15093, 42197]


@pytest.mark.parametrize("shape", [(1, 8, 6), (1, 7, 7), (64,), (8, 8)])
def test_vit_refuses_what_is_no_square_image_of_an_even_side(shape):
    with pytest.raises(NotApplicable, match="square images of an even side, not inputs of shape"):
        build(VitT(), Classification(2, "image", shape))


@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_cnn_refuses_what_is_no_image(shape):
    with pytest.raises(NotApplicable, match=r"cnn-s takes images \(channels, height, width\), not inputs of shape"):
        build(CnnS(), Classification(2, "image", shape))


# ---------------------------------------------------------------------------------------------------------- the blocks


def test_residual_adds_its_input():
    assert torch.equal(Residual(nn.ReLU())(torch.tensor([-1.0, 2.0])), torch.tensor([-1.0, 4.0]))


def test_conv_norm_is_kaiming_and_keeps_the_size():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = conv_norm(64, 64)[0]
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert conv_norm(1, 3)(images()).shape == (5, 3, 8, 8)


def test_patches_add_a_position_to_every_token():
    patches = Patches(1, 8, 12)
    tokens = patches(images())
    assert tokens.shape == (5, 16, 12)
    expected = patches.embed(images())[:, :, 1, 2] + patches.positions[6]  # row 1, column 2 of 4x4
    assert torch.allclose(tokens[:, 6], expected, atol=1e-6)


def test_attention_is_torchs_own():
    ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(x), theirs(x, x, x, need_weights=False)[0], atol=1e-6)


def test_mean_tokens_is_the_mean():
    assert MeanTokens()(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])).tolist() == [[2.0, 4.0]]


# -------------------------------------------------------------------------------------------------------- pretraining


@both
def test_pretraining_on_a_few_letters_beats_chance_and_helps_with_digits(backbone):
    """Chance is 2 % of the letters; the digits are held against a head on the same network before pretraining."""
    letters, digits = Letters(per_class=30).splits(0), Digits().splits(0)
    net = build(backbone, letters.task)
    fresh = copy.deepcopy(net)
    trainer = SuiteTrainer(letters.task, letters.train, Budget(epochs=4), seed=0)
    rng = torch.Generator().manual_seed(0)
    backbone.tune(Tuning(letters.task, net, fresh, trainer, letters.train, letters.val, rng, no_scheme))
    assert letters.task.quality(trainer.outputs(net, letters.test.x), letters.test) > 0.2

    def probed(model: Net) -> float:
        head = SuiteTrainer(digits.task, digits.train, Budget(epochs=15), seed=0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.replace_head(10)
        head.fit(model, [{"params": model.head.parameters(), "lr": 0.05}], optimizer="adam")
        return digits.task.quality(head.outputs(model, digits.test.x), digits.test)

    before, after = probed(fresh), probed(net)
    assert after > 0.55
    assert after > before + 0.1


@both
def test_pretraining_spends_its_budget_on_every_parameter(backbone):
    letters = Letters(per_class=20).splits(0)
    net = build(backbone, letters.task)
    before = copy.deepcopy(net)
    trainer = SuiteTrainer(letters.task, letters.train, Budget(epochs=1, batch_size=300), seed=0)
    rng = torch.Generator().manual_seed(0)
    backbone.tune(Tuning(letters.task, net, before, trainer, letters.train, letters.val, rng, no_scheme))
    assert trainer.spent == trainer.budget == 4
    assert all(not torch.equal(p, q) for p, q in zip(net.parameters(), before.parameters(), strict=True))


@both
def test_what_the_plan_asks_for(backbone):
    assert backbone.source == Ref("letters")
    assert backbone.fingerprint() == ""
    assert backbone.budget().epochs == 8
    assert build(backbone).recipe.optimizer == ("sgd" if isinstance(backbone, CnnS) else "adamw")
    assert hash(backbone) == hash(type(backbone)())


def test_reading_the_classes_does_not_import_torch():
    code = (
        "import sys; from finefuse_zoo.backbones.cnn import CnnS; from finefuse_zoo.backbones.vit import VitT"
        "; CnnS().budget(), VitT().fingerprint(), VitT().source; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
