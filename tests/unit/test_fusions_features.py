"""Fusions of features: a head on all of them, their learned mean, and two networks spliced."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from finefuse import nets
from finefuse.errors import NotApplicable
from finefuse_zoo.backbones._stages import TORCHVISION, cut
from finefuse_zoo.channels import channel_axis
from finefuse_zoo.fusions import _feature_heads as feature_heads
from finefuse_zoo.fusions.concat_features import ConcatFeatures
from finefuse_zoo.fusions.gate import Gate
from finefuse_zoo.fusions.mean_features import MeanFeatures
from finefuse_zoo.fusions.splice import Splice


def predict(model, x):
    with nets.evaluation(model):
        return model(x)


@pytest.fixture(scope="module")
def trained(lab):
    return lab.tuned(lab.IMAGES, 3)


@pytest.fixture
def of(lab, trained):
    return lab.fusing(trained, lab.IMAGES)


def wide(lab, channels=5, side=8):
    """An image network of other widths than `lab.cnn`, with or without the same resolution at the cut."""
    torch.manual_seed(1)
    stride = 8 // side
    first = nn.Sequential(nn.Conv2d(1, channels, 3, stride, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
    last = nn.Sequential(nn.Conv2d(channels, 9, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nets.Net([first, last], nn.Linear(9, 3)).eval()


# ------------------------------------------------------------------------------------------------- concat-features


@pytest.mark.parametrize("fusion", [ConcatFeatures(), ConcatFeatures("mlp", steps=60), MeanFeatures(steps=60)], ids=str)
def test_members_of_different_architectures_are_fused(lab, trained, fusion):
    of = lab.fusing([trained[0], wide(lab)], lab.IMAGES)
    fused = fusion.fuse(of)
    assert isinstance(fused, nets.CombineFeatures)
    assert (predict(fused, of.val.x).argmax(-1) == of.val.y).float().mean() > 0.6


def test_ridge_regression_on_features_side_by_side(lab):
    of = lab.fusing(lab.tuned(lab.LINE, 2), lab.LINE)
    features = np.hstack([of.trainer.features(m.net, of.train.x).numpy() for m in of.members])
    held_out = np.hstack([of.trainer.features(m.net, of.val.x).numpy() for m in of.members])
    expected = Ridge(alpha=0.5).fit(features, of.train.y.numpy()).predict(held_out)
    ours = predict(ConcatFeatures(C=2.0).fuse(of), of.val.x).numpy()
    assert np.abs(ours - expected.reshape(ours.shape)).max() < 1e-4


def test_a_perceptron_starts_from_the_given_generator_and_learns(lab, of):
    def loss(steps, seed=0):
        seeded = replace(of, rng=torch.Generator().manual_seed(seed))
        outputs = predict(ConcatFeatures(head="mlp", width=16, steps=steps).fuse(seeded), of.train.x)
        return nn.functional.cross_entropy(outputs, of.train.y).item()

    assert loss(50) < 0.5 * loss(0)
    assert loss(5) == loss(5) != loss(5, seed=1)


def test_what_a_perceptron_learns_does_not_depend_on_the_scale_of_features(lab):
    x, y = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), lab.data(n=40).y
    scale, shift = torch.tensor([1e-3, 1.0, 50.0, 7.0, 0.1]), torch.tensor([3.0, -1.0, 100.0, 0.0, 5.0])

    def fitted(features):
        rng = torch.Generator().manual_seed(0)
        return feature_heads.fitted_mlp(features, y, lab.POINTS, 8, 20, 0.05, rng)(features)

    assert torch.allclose(fitted(x), fitted(x * scale + shift), atol=1e-3)


def test_no_steps_given_means_as_many_as_the_budget_has(lab, trained):
    def outputs(fusion):
        of = lab.fusing(trained, lab.IMAGES)
        return predict(fusion.fuse(of), of.val.x), of.trainer.budget

    for kind, kwargs in ((ConcatFeatures, {"head": "mlp"}), (MeanFeatures, {})):
        usual, budget = outputs(kind(**kwargs))
        assert torch.equal(usual, outputs(kind(**kwargs, steps=budget))[0])
        assert not torch.equal(usual, outputs(kind(**kwargs, steps=budget - 1))[0])


@pytest.mark.parametrize("fusion", [ConcatFeatures(), MeanFeatures(steps=1), Gate(steps=1), Splice()], ids=str)
def test_only_parameters_that_are_used_are_deployed(lab, trained, fusion):
    of = lab.fusing([trained[0], wide(lab, channels=4)], lab.IMAGES)
    fused = fusion.fuse(of).eval()
    fused(of.val.x[:8]).square().sum().backward()
    assert [name for name, p in fused.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("fusion", [ConcatFeatures(), MeanFeatures(steps=2), Gate(steps=2)], ids=str)
def test_without_their_heads_the_outputs_keep_their_bits(of, fusion):
    fused = fusion.fuse(of)
    with torch.no_grad():
        features = [member.net.features(of.val.x) for member in of.members]
    assert torch.equal(predict(fused, of.val.x), fused.combine(features))


# ------------------------------------------------------------------------------------------------- mean-features


@pytest.mark.parametrize("one", range(3))
def test_identities_and_one_hot_weights_give_that_member(of, one):
    weights = tuple(float(m == one) for m in range(3))
    fused = MeanFeatures(weights=weights, steps=0).fuse(of)
    assert torch.allclose(predict(fused, of.val.x), predict(of.members[one].net, of.val.x), atol=1e-6)


def test_a_narrow_member_is_padded_and_still_itself(lab, trained):
    of = lab.fusing([wide(lab), trained[0]], lab.IMAGES)
    for one in (0, 1):
        fused = MeanFeatures(weights=(1.0 - one, float(one)), steps=0).fuse(of)
        assert torch.allclose(predict(fused, of.val.x), predict(of.members[one].net, of.val.x), atol=1e-6)


def test_uniform_weights_start_from_the_mean_features_and_the_mean_head(of):
    features = torch.stack([m.net.features(of.val.x) for m in of.members]).mean(0)
    weight = torch.stack([m.net.head.weight for m in of.members]).mean(0)
    bias = torch.stack([m.net.head.bias for m in of.members]).mean(0)
    fused = MeanFeatures(steps=0).fuse(of)
    assert torch.allclose(predict(fused, of.val.x), features @ weight.T + bias, atol=1e-5)


def test_weights_projections_and_head_are_learned_as_a_plain_loop_does(of):
    features = [of.trainer.features(m.net, of.train.x) for m in of.members]
    w = torch.full((3,), 1 / 3, requires_grad=True)
    projections = [torch.eye(6, requires_grad=True) for _ in features]
    head = copy.deepcopy(of.members[0].net.head)
    with torch.no_grad():
        head.weight.copy_(sum(m.net.head.weight for m in of.members) / 3)
        head.bias.copy_(sum(m.net.head.bias for m in of.members) / 3)
    adam = torch.optim.Adam([w, *projections, *head.parameters()], lr=0.01)
    for _ in range(10):
        h = sum(w[m] * features[m] @ projections[m].T for m in range(3))
        adam.zero_grad()
        nn.functional.cross_entropy(head(h), of.train.y).backward()
        adam.step()
    top = MeanFeatures(steps=10, lr=0.01).fuse(of).combine
    assert torch.allclose(top.weights, w, atol=1e-5)
    assert torch.allclose(top.head.weight, head.weight, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(top.projections, projections, strict=True))


def test_as_many_weights_as_members_are_needed(of):
    with pytest.raises(NotApplicable, match="2 weights were given for 3 members"):
        MeanFeatures(weights=(0.5, 0.5)).fuse(of)


# ------------------------------------------------------------------------------------------------- splice


@pytest.mark.parametrize("at", ["middle", 1, 2])
def test_a_member_spliced_to_itself_is_that_member_to_the_bit(lab, trained, at):
    of = lab.fusing([trained[1], trained[1]], lab.IMAGES)
    assert torch.equal(predict(Splice(at).fuse(of), of.val.x), predict(trained[1], of.val.x))


def test_stages_come_from_below_and_above_with_the_adapter_between(of):
    fused = Splice().fuse(of)
    *first, adapter = fused.stages[0]
    below, above = of.members[0].net, of.members[1].net
    assert torch.equal(first[0].weight, below.stages[0][0].weight)
    assert torch.equal(fused.stages[1][0].weight, above.stages[1][0].weight)
    assert torch.equal(fused.head.weight, above.head.weight)
    assert isinstance(adapter, nn.Conv2d)
    assert adapter.kernel_size == (1, 1)


def rows(activation):
    return activation.movedim(1, -1).flatten(0, -2).double().numpy()


def test_the_adapter_of_maps_is_the_least_squares_solution(lab, trained):
    of = lab.fusing([wide(lab, channels=3), trained[0]], lab.IMAGES)
    adapter = Splice().fuse(of).stages[0][-1]
    with torch.no_grad():
        x, y = (rows(m.net.stages[0](of.train.x)) for m in of.members)
    solution, *_ = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y)
    assert np.abs(adapter.weight.detach().numpy()[:, :, 0, 0] - solution[:-1].T).max() < 1e-4
    assert np.abs(adapter.bias.detach().numpy() - solution[-1]).max() < 1e-4


def test_vectors_are_joined_by_a_linear_layer(lab):
    of = lab.fusing(lab.tuned(lab.POINTS, 2), lab.POINTS)
    adapter = Splice(at=3).fuse(of).stages[2][-1]
    x, y = (of.trainer.features(m.net, of.train.x).double().numpy() for m in of.members)
    solution, *_ = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y)
    assert isinstance(adapter, nn.Linear)
    assert np.abs(adapter.weight.detach().numpy() - solution[:-1].T).max() < 1e-4


class Windows(nn.Module):
    """A stage as Swin has them, (N, H, W, C) to (N, H / 2, W / 2, 2 C): merging of four pixels, then a perceptron."""

    def __init__(self, channels):
        super().__init__()
        self.merge = nn.Sequential(nn.LayerNorm(4 * channels), nn.Linear(4 * channels, 2 * channels))
        self.each = nn.Sequential(nn.LayerNorm(2 * channels), nn.Linear(2 * channels, 2 * channels), nn.GELU())

    def forward(self, x):
        x = self.merge(torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1))
        return x + self.each(x)


class Permute(nn.Module):
    """Its axes in another order."""

    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


def swin(channels, seed):
    """With four channels its maps are (N, 4, 4, 4), so that nothing but its layers can say where the channels are."""
    torch.manual_seed(seed)
    patches = nn.Sequential(nn.Conv2d(1, channels, 2, 2), Permute(0, 2, 3, 1))
    end = nn.Sequential(Windows(2 * channels), Permute(0, 3, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nets.Net([patches, Windows(channels), end], nn.Linear(4 * channels, 3)).eval()


@pytest.mark.parametrize(("at", "sizes"), [(1, (4, 6)), (1, (4, 4)), (2, (4, 6)), (2, (2, 2)), (3, (4, 6))])
def test_maps_with_the_channels_last_are_joined_by_a_linear_layer(lab, at, sizes):
    of = lab.fusing([swin(size, seed) for seed, size in enumerate(sizes)], lab.IMAGES)
    fused = Splice(at).fuse(of)
    adapter = fused.stages[at - 1][-1]
    assert isinstance(adapter, nn.Linear)
    with torch.no_grad():
        x, y = (nn.Sequential(*m.net.stages[:at])(of.train.x).flatten(0, -2).double().numpy() for m in of.members)
    solution, *_ = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y)
    aimed = np.hstack([x, np.ones((len(x), 1))]) @ solution
    assert np.abs(adapter(torch.from_numpy(x).float()).detach().numpy() - aimed).max() < 1e-3
    assert predict(fused, of.val.x).shape == (len(of.val.x), 3)


def test_channels_first_and_last_are_not_spliced(lab):
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 4, 2, 2), nn.Sequential(nn.Conv2d(4, 4, 4), nn.Flatten()), nn.Linear(4, 4)]
    of = lab.fusing([swin(4, 0), nets.Net(first, nn.Linear(4, 3)).eval()], lab.IMAGES)
    with pytest.raises(NotApplicable, match="of which one has the channels first and the other last"):
        Splice(1).fuse(of)


def test_maps_of_which_no_layer_tells_anything_are_not_spliced(lab):
    strange = nets.Net([Permute(0, 1, 3, 2), nn.Flatten()], nn.Linear(64, 3)).eval()
    of = lab.fusing([strange, strange], lab.IMAGES)
    with pytest.raises(NotApplicable, match=r"no layer tells which axis of feature maps of size \[1, 8, 8\] holds"):
        Splice(1).fuse(of)


@pytest.mark.parametrize(
    ("layers", "axis"),
    [
        ([nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1)], 1),  # the reader
        ([nn.Conv2d(1, 8, 1), nn.Flatten()], 1),  # the writer
        ([nn.Sequential(Permute(0, 2, 3, 1), nn.Linear(1, 8)), nn.Flatten()], 3),
        ([nn.Sequential(Permute(0, 2, 3, 1), nn.Linear(1, 8), Permute(0, 3, 1, 2)), nn.BatchNorm2d(8)], 1),
        ([nn.Sequential(nn.Conv2d(1, 8, 1), Permute(0, 2, 3, 1)), nn.Sequential(nn.GELU(), nn.LayerNorm(8))], 3),
        ([nn.Sequential(nn.Conv2d(1, 8, 1), nn.Flatten(2)), nn.Conv1d(8, 8, 1)], 1),
        ([nn.Sequential(nn.Conv2d(1, 8, 1), nn.Flatten(2), Permute(0, 2, 1)), nn.LayerNorm(8)], 2),
        ([nn.Flatten(), nn.Linear(64, 8)], 1),
    ],
    ids=str,
)
def test_layers_tell_which_axis_holds_the_channels(layers, axis):
    """Maps of eight by eight with eight channels: their shape says nothing."""
    x = torch.randn(2, 1, 8, 8)
    width = nn.Sequential(*layers, nn.Flatten())(x).shape[1]
    net = nets.Net([*layers, nn.Flatten()], nn.Linear(width, 3)).eval()
    assert channel_axis(net, 1, x[:1]) == axis


def test_masked_tokens_have_their_channels_last_though_a_convolution_follows():
    class Masked(nn.Module):
        def forward(self, x):
            return x * (x.sum(-1, keepdim=True) > 0)

    layers = [nn.Sequential(nn.Embedding(9, 8), Masked()), nn.Sequential(Permute(0, 2, 1), nn.Conv1d(8, 8, 1))]
    net = nets.Net([*layers, nn.Flatten()], nn.Linear(8 * 5, 3)).eval()
    assert channel_axis(net, 1, torch.arange(5)[None]) == 2


def test_swin_has_its_channels_last_and_convnext_first():
    swin = pytest.importorskip("torchvision.models.swin_transformer")
    convnext = pytest.importorskip("torchvision.models.convnext")
    blocks = [convnext.CNBlockConfig(2**i, 2 * 2**i if i < 6 else None, 1) for i in range(3, 7)]
    networks = [swin.SwinTransformer([4, 4], 16, [1, 1, 1, 1], [2, 2, 2, 2], [2, 2]), convnext.ConvNeXt(blocks)]
    x = torch.randn(1, 3, 64, 64)
    for network, axis in zip(networks, (3, 1), strict=True):
        stages = cut(network.eval(), TORCHVISION[type(network).__name__])
        net = nets.Net(stages, nn.Linear(nn.Sequential(*stages)(x).shape[1], 3)).eval()
        assert [channel_axis(net, count, x) for count in range(1, 6)] == [axis] * 4 + [1]


def test_a_dead_channel_does_no_harm(lab, trained):
    dead = copy.deepcopy(trained[0])
    with torch.no_grad():
        dead.stages[0][1].weight[0], dead.stages[0][1].bias[0] = 0.0, -1.0
    of = lab.fusing([dead, trained[1]], lab.IMAGES)
    fused = Splice().fuse(of)
    assert predict(fused, of.val.x).isfinite().all()
    assert fused.stages[0][-1].weight.abs().max() < 100


def test_members_beyond_the_second_are_left_out(lab, trained):
    two, three = lab.fusing(trained[:2], lab.IMAGES), lab.fusing(trained, lab.IMAGES)
    assert torch.equal(predict(Splice().fuse(two), two.val.x), predict(Splice().fuse(three), two.val.x))


def test_feature_maps_of_other_sizes_are_not_spliced(lab, trained):
    of = lab.fusing([wide(lab, side=4), trained[0]], lab.IMAGES)
    with pytest.raises(NotApplicable, match=r"sizes \[5, 4, 4\] and \[4, 8, 8\], which differ in more than"):
        Splice().fuse(of)


def test_a_member_with_too_few_stages_is_not_spliced(of):
    with pytest.raises(NotApplicable, match="at = 3, but a member has only 2 stages"):
        Splice(at=3).fuse(of)
