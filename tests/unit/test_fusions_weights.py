"""What holds for each fusion of weights: its limits, its edges, what it refuses."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from finefuse import nets
from finefuse.errors import NotApplicable, PluginError
from finefuse_zoo.fusions import _task_vectors as task_vectors
from finefuse_zoo.fusions._singular import polar, singular
from finefuse_zoo.fusions.arcee_fusion import ArceeFusion
from finefuse_zoo.fusions.breadcrumbs import Breadcrumbs
from finefuse_zoo.fusions.consensus import Consensus
from finefuse_zoo.fusions.dare import Dare
from finefuse_zoo.fusions.della import Della
from finefuse_zoo.fusions.expo import Expo
from finefuse_zoo.fusions.iso_c import IsoC
from finefuse_zoo.fusions.iso_cts import IsoCts
from finefuse_zoo.fusions.karcher import Karcher, coefficients
from finefuse_zoo.fusions.magmax import MagMax
from finefuse_zoo.fusions.model_stock import ModelStock, ratio
from finefuse_zoo.fusions.multislerp import MultiSlerp
from finefuse_zoo.fusions.nuslerp import NuSlerp
from finefuse_zoo.fusions.pcb import Pcb
from finefuse_zoo.fusions.sce import Sce
from finefuse_zoo.fusions.slerp import Slerp, slerp
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.svc import Svc
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.ties import Ties
from finefuse_zoo.fusions.tsv_m import TsvM
from finefuse_zoo.fusions.weighted_soup import WeightedSoup
from finefuse_zoo.fusions.wise_ft import WiseFt
from finefuse_zoo.fusions.wudi import Wudi

SCALED = [TaskArithmetic, Ties, Dare, MagMax, TsvM, IsoC, IsoCts, Wudi, Breadcrumbs, Della, Consensus, Pcb]
ON_BASE = [*SCALED, WiseFt, ModelStock, Sce, ArceeFusion, Expo, NuSlerp, Svc]


@pytest.fixture(scope="module")
def trained(lab):
    return lab.tuned(lab.IMAGES, 3)


@pytest.fixture
def of(lab, trained):
    return lab.fusing(trained, lab.IMAGES)


def same_bits(one, other):
    first, second = one.state_dict(), other.state_dict()
    different = {name for name in first if not torch.equal(first[name], second[name])}
    return {name for name in different if not name.endswith("num_batches_tracked")} == set()


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cls", SCALED)
def test_scaling_0_gives_the_base_with_its_statistics(of, cls):
    assert same_bits(cls(scaling=0.0).fuse(of), of.base)


def test_wise_ft_at_its_ends_is_the_base_and_the_soup(of):
    assert same_bits(WiseFt(a=0.0).fuse(of), of.base)
    assert same_bits(WiseFt(a=1.0).fuse(of), Soup().fuse(of))


def test_wise_ft_on_val_takes_the_best_of_the_grid(of):
    tried = [WiseFt(a=i / 10).fuse(of) for i in range(11)]
    scores = [of.task.quality(of.trainer.outputs(net, of.val.x), of.val) for net in tried]
    best = max(range(11), key=lambda i: (scores[i], -abs(i / 10 - 0.5)))
    assert min(scores) < max(scores)
    assert same_bits(WiseFt(a="val").fuse(of), tried[best])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_hot_weights_give_that_member(of, trained, place):
    weights = tuple(float(i == place) for i in range(3))
    assert same_bits(WeightedSoup(weights=weights).fuse(of), trained[place])


def test_weights_come_from_quality_on_val(of):
    members = [replace(m, score=s) for m, s in zip(of.members, (0.5, 0.25, 0.25), strict=True)]
    given = WeightedSoup(weights=(2.0, 1.0, 1.0)).fuse(of)
    assert same_bits(WeightedSoup().fuse(replace(of, members=members)), given)


def test_weighted_soup_works_in_regression(lab):
    of = lab.fusing(lab.tuned(lab.LINE, 2), lab.LINE)
    assert WeightedSoup().fuse(of)(of.val.x).isfinite().all()


@pytest.mark.parametrize(
    ("weights", "why"), [((1.0,), "1 weights were given for 3 members"), ((0.0, 0.0, 0.0), "no member has a positive")]
)
def test_weights_that_say_nothing_are_refused(of, weights, why):
    with pytest.raises(NotApplicable, match=why):
        WeightedSoup(weights=weights).fuse(of)


@pytest.mark.parametrize("cls", ON_BASE)
def test_a_start_that_was_not_asked_for_is_not_there(lab, of, cls):
    given = lab.fusing([member.net for member in of.members], lab.IMAGES, needs=("val", "train", "trainer"))
    with pytest.raises(PluginError, match=r"^the fusion reads `of\.base` and its `needs` don't name 'base'$"):
        cls().fuse(given)


@pytest.mark.parametrize("cls", [*ON_BASE, Slerp, Karcher, MultiSlerp, WeightedSoup])
def test_members_of_other_architectures_are_refused(lab, of, cls):
    other = replace(of.members[1], load=lambda: lab.cnn(5))
    with pytest.raises(NotApplicable, match="differ in architecture"):
        cls().fuse(replace(of, members=[of.members[0], other]))


@pytest.mark.parametrize("fusion", [TaskArithmetic(1.0, recalibrate=False), IsoC(3.0, recalibrate=False)])
def test_variances_stay_positive_however_far_it_goes(of, fusion):
    net = fusion.fuse(of)
    assert all((layer.running_var > 0).all() for layer in nets.norm_layers(net))


def test_scaling_one_over_the_members_is_the_soup(of):
    one, other = TaskArithmetic(1 / 3).fuse(of), Soup().fuse(of)
    assert all(torch.allclose(p, q, atol=1e-7) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "fusion",
    [
        TaskArithmetic(1.0),
        Ties(k=1.0),
        Dare(p=0.0, scaling=1.0),
        TsvM(),
        MagMax(),
        Wudi(),
        Sce(k=1.0),
        NuSlerp(),
        MultiSlerp(),
    ],
)
def test_one_member_is_given_back_where_nothing_is_left_out(of, trained, fusion):
    net = fusion.fuse(replace(of, members=of.members[:1]))
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(net.parameters(), trained[0].parameters(), strict=True))


@pytest.mark.parametrize(
    "cls",
    [
        Karcher,
        ModelStock,
        MagMax,
        Ties,
        TaskArithmetic,
        IsoCts,
        Wudi,
        Svc,
        Breadcrumbs,
        Sce,
        Consensus,
        Pcb,
        MultiSlerp,
    ],
)
def test_the_order_of_members_changes_no_more_than_rounding(of, cls):
    forth, back = (cls().fuse(replace(of, members=m)) for m in (of.members, of.members[::-1]))
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(forth.parameters(), back.parameters(), strict=True))


def test_parameters_keep_their_type(lab, of):
    def half(net):
        return copy.deepcopy(net).to(torch.bfloat16)

    members = [replace(m, load=lambda net=m.net: half(net)) for m in of.members]
    few = replace(of, members=members, base=half(of.base))
    for cls in (*ON_BASE, Slerp, Karcher, MultiSlerp):
        net = cls(recalibrate=False).fuse(few)
        assert {p.dtype for p in net.parameters()} == {torch.bfloat16}


def test_slerp_keeps_the_length_and_halves_the_angle():
    one, other = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    assert torch.allclose(slerp(one, other, 0.5), torch.tensor([3.0, 3.0]) / 2**0.5)
    assert torch.allclose(slerp(one, other, 1 / 3), 3 * torch.tensor([0.75**0.5, 0.5]))
    assert torch.equal(slerp(one, other, 0.0), one)


@pytest.mark.parametrize("other", [torch.zeros(2), torch.tensor([3.0, 0.03]), torch.tensor([-2.0, 0.0])])
def test_slerp_is_linear_where_there_is_no_angle(other):
    one = torch.tensor([3.0, 0.0])
    assert torch.allclose(slerp(one, other, 0.25), 0.75 * one + 0.25 * other)


def test_slerp_has_one_t_for_two_members_only(of, trained):
    with pytest.raises(NotApplicable, match="is for two members, but there are 3"):
        Slerp(t=0.5).fuse(of)
    two = replace(of, members=of.members[:2])
    assert same_bits(Slerp(t=1.0).fuse(two), trained[1])
    assert same_bits(Slerp(t=0.5).fuse(two), Slerp().fuse(two))


def test_karcher_of_two_is_the_middle_of_the_arc():
    one, other = random(1, 40), random(2, 40)
    one, other = one / one.norm(), other / other.norm()
    assert torch.allclose(karcher([one, other]), slerp(one, other, 0.5), atol=1e-6)


def karcher(tensors):
    return nets.weighted_sum(tensors, coefficients(task_vectors.gram(tensors)).tolist())


def test_karcher_is_where_logarithms_cancel():
    tensors = [random(seed, 30) + 1 for seed in range(4)]
    mean = karcher(tensors).double()
    assert float(mean.norm()) == pytest.approx(sum(float(t.norm()) for t in tensors) / 4, rel=1e-6)
    mean = mean / mean.norm()
    total = torch.zeros(30, dtype=torch.float64)
    for tensor in tensors:
        unit = tensor.double() / tensor.double().norm()
        angle = torch.acos(mean @ unit)
        total += angle / angle.sin() * (unit - (mean @ unit) * mean)
    assert float(total.norm()) < 1e-6


def test_karcher_at_its_edges():
    one = random(3, 5)
    assert torch.equal(karcher([one, -one]), torch.zeros(5))
    assert torch.allclose(karcher([one, torch.zeros(5)]), one / 2)
    assert torch.equal(karcher([torch.zeros(5)] * 2), torch.zeros(5))
    assert torch.allclose(karcher([torch.ones(1), torch.ones(1), -torch.ones(1)]), torch.ones(1))


def test_model_stock_goes_as_far_as_the_members_agree():
    base, step = torch.zeros(4), torch.eye(4)
    assert ratio(base, [step[0]]) == 1.0
    assert ratio(base, [step[0], step[0]]) == pytest.approx(1.0)
    assert ratio(base, [step[0], step[1], step[2]]) == 0.0
    assert ratio(base, [step[0], -step[0]]) == 0.0
    assert ratio(base, [step[0], (step[0] + step[1]) / 2]) == pytest.approx(2 * 0.5**0.5 / (1 + 0.5**0.5))


def test_magmax_takes_the_largest_change_and_of_opposite_ones_the_positive(lab, of):
    base, low, high = torch.tensor([1.0, 1, 1]), torch.tensor([0.0, -2, 1]), torch.tensor([2.0, 2, 1])
    names = [name for name, _ in of.base.named_parameters()]
    first = dict(of.base.named_parameters())[names[1]].data
    nets_ = [copy.deepcopy(of.base) for _ in range(3)]
    for net, row in zip(nets_, (base, low, high), strict=True):
        dict(net.named_parameters())[names[1]].data[:3] = row
    fused = MagMax().fuse(replace(lab.fusing(nets_[1:], lab.IMAGES), base=nets_[0]))
    assert dict(fused.named_parameters())[names[1]].data.tolist() == [2.0, -2.0, 1.0, *first[3:].tolist()]


def test_dare_drops_by_the_seed_and_keeps_the_mean(of):
    def run(seed, **given):
        again = replace(of, rng=torch.Generator().manual_seed(seed))
        net = Dare(scaling=1 / 3, recalibrate=False, **given).fuse(again)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    draws = torch.stack([run(seed) for seed in range(200)])
    soup = torch.cat([p.detach().flatten() for p in Soup(recalibrate=False).fuse(of).parameters()])
    deviation = draws.std(0) / 200**0.5 + 1e-6
    assert ((draws.mean(0) - soup).abs() / deviation).max() < 5


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.8, 0.99, 1.0])
def test_the_magnitude_at_a_rank_is_exact_in_large_tensors(share):
    bases, members = [random(s, 70_000) for s in (1, 2)], [random(s, 70_000) for s in (3, 4)]
    members[0][:30_000] = bases[0][:30_000]  # many that are equal
    sizes = (torch.cat(members).double() - torch.cat(bases).double()).abs()
    rank = max(1, int(share * len(sizes)))
    wanted = float(sizes.kthvalue(rank).values)
    assert task_vectors.magnitude_at(rank, list(zip(bases, members, strict=True))) == wanted


def test_the_magnitude_at_a_rank_is_exact_even_if_the_sample_misleads():
    member = random(5, 40 * task_vectors.SAMPLE).abs()
    member[::40] = 1e6
    found = task_vectors.magnitude_at(len(member) // 2, [(torch.zeros_like(member), member)])
    assert found == float(member.double().kthvalue(len(member) // 2).values)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_singular_vectors_put_a_matrix_together_again(shape):
    matrix = random(6, *shape).double()
    u, s, vh = singular(matrix)
    assert torch.allclose(u * s @ vh, matrix)
    assert torch.allclose(s, torch.linalg.svdvals(matrix))
    q = polar(matrix) if shape[0] >= shape[1] else polar(matrix).T
    assert torch.allclose(q.T @ q, torch.eye(min(shape), dtype=torch.float64))


def test_directions_without_a_singular_value_are_left_out():
    matrix = torch.outer(random(7, 5), random(8, 7)).double()
    assert torch.allclose(polar(matrix), matrix / torch.linalg.svdvals(matrix)[0], atol=1e-6)
    assert torch.equal(polar(torch.zeros(3, 4, dtype=torch.float64)), torch.zeros(3, 4, dtype=torch.float64))


@pytest.mark.parametrize(("p", "width"), [(0.1, 0.2), (0.95, 0.2), (0.5, 0.999999), (0.05, 0.1)])
def test_della_refuses_probabilities_that_are_none(of, p, width):
    if width / 2 < min(p, 1 - p):
        assert Della(p=p, width=width).fuse(of)
    else:
        with pytest.raises(NotApplicable, match=r"give probabilities outside of \(0, 1\)$"):
            Della(p=p, width=width).fuse(of)


def test_nuslerp_has_one_t_for_two_members_only(of):
    with pytest.raises(NotApplicable, match="is for two members, but there are 3"):
        NuSlerp(t=0.5).fuse(of)
    assert same_bits(
        NuSlerp(t=0.5).fuse(replace(of, members=of.members[:2])), NuSlerp().fuse(replace(of, members=of.members[:2]))
    )


def test_svc_follows_another_merge(of):
    one = Svc(recalibrate=False).follow(TaskArithmetic(1.0, recalibrate=False).fuse(of), of)
    assert same_bits(one, Svc(recalibrate=False).fuse(of))


@pytest.mark.parametrize(
    ("rows", "count", "common"), [(3, 2, 0.1), (8, 3, 0.1), (7, 2, 0.0), (2, 3, 0.0), (10, 2, 0.8)]
)
def test_iso_cts_has_equal_singular_values_however_the_places_are_divided(rows, count, common):
    taus = [random(n, rows, 20).double() for n in range(count)]
    found = torch.linalg.svdvals(IsoCts(common)._directions(lambda: (tau.clone() for tau in taus), count))
    assert torch.allclose(found, found.mean().expand(rows), rtol=1e-6)
