"""git-rebasin and repair: units are found, brought back into place, and their activations given the right size."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from finefuse import Classification, nets
from finefuse.discovery.registry import Registry
from finefuse.errors import NotApplicable
from finefuse.matching import aligned, follow, match, permuted
from finefuse.nets import Net
from finefuse.types import Ref
from finefuse_zoo.fusions._layer_statistics import layers_to_mend, moments
from finefuse_zoo.fusions.git_rebasin import GitRebasin
from finefuse_zoo.fusions.repair import Repair
from finefuse_zoo.fusions.soup import Soup

IMAGE = Classification(5, "image", (2, 8, 8))
ZOO = Registry(("finefuse_zoo.hooks",), entry_points=False)


def residual(seed):
    """cnn-s: BatchNorm, and three shortcuts over one space of units."""
    torch.manual_seed(seed)
    return used(ZOO.build("backbone", Ref.of("cnn-s")).build(IMAGE))


def used(net):
    for layer in nets.norm_layers(net):
        nn.init.normal_(layer.weight, 1, 0.3)
        nn.init.normal_(layer.bias)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    return net.eval()


def plain(seed):
    """Convolutions, one for each channel, a flattening that gives every unit 16 numbers, and linear layers."""
    torch.manual_seed(seed)
    first = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten())
    third = nn.Sequential(nn.Linear(96, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 7, bias=False), nn.Dropout(0.1))
    return used(Net([first, second, third], nn.Linear(7, 5)))


def planted(net, seed):
    """The network with its units in random places, and in which."""
    units = follow(net, torch.zeros(2, 2, 8, 8))
    rng = torch.Generator().manual_seed(seed)
    places = {space: torch.randperm(units.sizes[space], generator=rng) for space in units.free()}
    other = copy.deepcopy(net)
    other.load_state_dict(permuted(units, net.state_dict(), places))
    return other, units


def outputs(net, seed=9):
    with torch.no_grad():
        return net(torch.randn(20, 2, 8, 8, generator=torch.Generator().manual_seed(seed)))


def same_bits(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def fusing(lab, members):
    return lab.fusing(members, IMAGE)


@pytest.mark.parametrize(("build", "spaces"), [(residual, [16] * 4), (plain, [6, 8, 7])])
def test_units_in_other_places_compute_the_same(build, spaces):
    net = build(0)
    other, units = planted(net, 1)
    assert [units.sizes[s] for s in units.free()] == spaces
    assert not same_bits(net, other)
    assert torch.allclose(outputs(net), outputs(other), atol=1e-5)


@pytest.mark.parametrize(("build", "seed"), [(residual, 0), (plain, 0), (plain, 1), (plain, 2)])
def test_a_planted_permutation_is_found_again_exactly(build, seed):
    net = build(seed)
    other, units = planted(net, seed + 10)
    places = match(units, net.state_dict(), other.state_dict(), torch.Generator().manual_seed(0))
    back = permuted(units, other.state_dict(), places)
    assert all(torch.equal(back[name], tensor) for name, tensor in net.state_dict().items())


def test_the_mean_of_a_network_and_itself_permuted_is_the_network(lab):
    net = plain(0)
    other, _ = planted(net, 1)
    fused = GitRebasin().fuse(fusing(lab, [net, other]))
    assert same_bits(fused, net)
    mixed = Soup(recalibrate=False).fuse(fusing(lab, [net, other]))
    assert not torch.allclose(outputs(mixed), outputs(net), atol=0.05)


def test_aligned_members_compute_what_they_did_and_are_nearer(lab):
    members = [plain(seed) for seed in range(3)]
    of = fusing(lab, members)
    for before, after in zip(of.members[1:], aligned(of)[1:], strict=True):
        assert torch.allclose(outputs(before.net), outputs(after.net), atol=1e-5)
        assert distance(after.net, members[0]) < distance(before.net, members[0])


def distance(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return sum(float((p - q).detach().square().sum()) for p, q in pairs)


class Through(nn.Module):
    """Calls a function."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda x: torch.cat([x, x], 1)[:, :6], "'cat'"),
        (lambda x: x.flatten(2).transpose(1, 2).mean(1)[:, :, None, None], "shape of 3 axes"),
        (lambda x: x.softmax(1), "'softmax'"),
        (lambda x: x.chunk(2, 1)[0].repeat(1, 2, 1, 1), "'chunk'"),
        (lambda x: x.mean(1, keepdim=True).expand(-1, 6, -1, -1), "mean over them"),
        (lambda x: x * x[:, :1], "'getitem'"),
    ],
)
def test_what_units_cannot_be_followed_through_is_named(call, why):
    net = plain(0)
    net.stages[0] = nn.Sequential(net.stages[0], Through(call))
    with pytest.raises(NotApplicable, match=why):
        follow(net, torch.zeros(2, 2, 8, 8))


def test_units_that_meet_the_input_stay_in_place():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6))
    net = Net([nn.Sequential(Beside(body))], nn.Linear(6, 1))
    units = follow(net, torch.zeros(2, 6))
    assert [units.sizes[space] for space in units.free()] == [9]


class Beside(nn.Module):
    """A shortcut."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


def test_transformers_are_refused_with_the_reason(lab):
    vit = ZOO.build("backbone", Ref.of("vit-t")).build(lab.IMAGES)
    with pytest.raises(NotApplicable, match="units of this network can't be followed"):
        GitRebasin().fuse(lab.fusing([vit.eval(), copy.deepcopy(vit).eval()], lab.IMAGES))


@pytest.mark.parametrize("build", [residual, plain])
def test_repaired_layers_have_the_members_mean_statistics(lab, build):
    of = fusing(lab, [build(seed) for seed in range(3)])
    fused, x = Repair().fuse(of), of.train.x
    names = layers_to_mend(fused, x[:2])
    assert len(names) >= 4
    seen, goals = moments(fused, names, x), [moments(member.net, names, x) for member in of.members]
    for name in names:
        mean, std = (torch.stack([getattr(goal[name], what) for goal in goals]).mean(0) for what in ("mean", "std"))
        has_bias = fused.get_submodule(name).bias is not None
        assert torch.allclose(seen[name].std, std, rtol=0.03), name
        assert not has_bias or torch.allclose(seen[name].mean, mean, atol=0.03), name
    plain_soup = moments(Soup(recalibrate=False).fuse(of), names, x)
    off = [((plain_soup[n].std / torch.stack([g[n].std for g in goals]).mean(0)) - 1).abs().mean() for n in names]
    assert max(off) > 0.1


def test_layers_before_batch_norm_and_the_head_are_left_alone():
    net = plain(0)
    assert layers_to_mend(net, torch.zeros(2, 2, 8, 8)) == ["stages.0.0", "stages.1.1", "stages.2.0", "stages.2.3"]


def test_repair_with_matched_units_gives_back_a_permuted_network(lab):
    net = plain(0)
    other, _ = planted(net, 1)
    assert torch.allclose(outputs(Repair(align=True).fuse(fusing(lab, [net, other]))), outputs(net), atol=1e-5)
    assert not torch.allclose(outputs(Repair().fuse(fusing(lab, [net, other]))), outputs(net), atol=0.05)


def test_repair_works_for_values_without_batch_norm(lab):
    members = lab.tuned(lab.LINE, 2)
    of = lab.fusing(members, lab.LINE)
    fused = Repair().fuse(replace(of, members=of.members))
    assert fused(of.val.x).isfinite().all()
    assert [p.shape for p in fused.parameters()] == [p.shape for p in members[0].parameters()]
