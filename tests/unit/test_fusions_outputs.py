"""Fusions of outputs and the gate: formulas, replays by plain loops, and what holds for all of them."""

from __future__ import annotations

import math

import pytest
import torch

from finefuse import Classification, Regression, nets
from finefuse.errors import NotApplicable
from finefuse.types import Data, Fusing, Member
from finefuse_zoo.fusions._greedy import Classes, choose
from finefuse_zoo.fusions.calibrated_mean import CalibratedMean, sharpest
from finefuse_zoo.fusions.gate import Gate
from finefuse_zoo.fusions.greedy_ensemble import GreedyEnsemble
from finefuse_zoo.fusions.knora import Knora
from finefuse_zoo.fusions.mean import Mean
from finefuse_zoo.fusions.mean_logits import MeanLogits
from finefuse_zoo.fusions.mean_probs import MeanProbs
from finefuse_zoo.fusions.rules import Max, Median, Min, Product
from finefuse_zoo.fusions.stacking import Stacking
from finefuse_zoo.fusions.vote import Vote
from finefuse_zoo.fusions.weighted import Weighted

CLASSES = [
    Vote(),
    MeanProbs(),
    MeanLogits(),
    Product(),
    Max(),
    Min(),
    Median(),
    Weighted(),
    CalibratedMean(),
    GreedyEnsemble(),
    Stacking(),
    Knora(),
    Knora(rule="union"),
]
VALUES = [Mean(), Median(), Weighted(by="softmax"), GreedyEnsemble(), Stacking()]


def drawn(seed=0, members=4, n=60, classes=3, scale=1.0):
    """Logits of members that are right more often than not, and labels."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=rng)
    z = torch.randn(members, n, classes, generator=rng) + 0.8 * torch.nn.functional.one_hot(y, classes)
    return scale * z, y


def pool(z, y):
    task = (Regression if y.is_floating_point() else Classification)(z.shape[-1], "tabular", (1,))
    data = Data(torch.zeros(len(y), 1), y)
    members = [Member(f"m{i}", task.quality(o, data), o, lambda: None) for i, o in enumerate(z)]
    return Fusing(task, members, torch.Generator().manual_seed(0), val=data)


def combined(fusion, of, z):
    """What the ensemble makes of outputs z of all members, of which it may use some."""
    ensemble = fusion.fuse(of)
    names = [member.name for member in of.members]
    return ensemble.combine(torch.stack([z[names.index(member.name)] for member in ensemble.members]))


@pytest.mark.parametrize("fusion", CLASSES, ids=str)
def test_every_example_is_treated_by_itself(fusion):
    (z, y), (test, _) = drawn(0), drawn(1)
    together = combined(fusion, pool(z, y), test)
    apart = [combined(fusion, pool(z, y), test[:, n : n + 1]) for n in range(test.shape[1])]
    assert torch.allclose(torch.cat(apart), together, atol=1e-6)


@pytest.mark.parametrize("fusion", CLASSES, ids=str)
def test_certain_members_give_finite_outputs(fusion):
    z, y = drawn(scale=500.0)
    assert combined(fusion, pool(z, y), z).isfinite().all()


@pytest.mark.parametrize("fusion", VALUES, ids=str)
def test_fused_values_are_better_than_the_best_member(fusion):
    rng = torch.Generator().manual_seed(0)
    y = torch.randn(80, 2, generator=rng)
    z = y + torch.randn(5, 80, 2, generator=rng)
    of = pool(z, y)
    assert of.task.quality(combined(fusion, of, z), of.val) > max(m.score for m in of.members)


@pytest.mark.parametrize("fusion", [Vote(), MeanProbs(), MeanLogits(), Product(), CalibratedMean(), Knora()], ids=str)
def test_what_is_for_classes_says_so(fusion):
    assert fusion.kinds == ("classification",)


def test_the_mean_of_values_refuses_classes():
    with pytest.raises(NotApplicable, match="mean-probs"):
        Mean().fuse(pool(*drawn()))


@pytest.mark.parametrize("members", [1, 2, 3, 4])
def test_rules_follow_their_formulas(members):
    z, y = drawn(members=members)
    p = z.double().softmax(-1)
    formulas = {
        Product(): p.prod(0),
        Max(): p.amax(0),
        Min(): p.amin(0),
        Median(): torch.quantile(p, 0.5, dim=0),
        MeanLogits(): p.prod(0) ** (1 / members),
    }
    for fusion, expected in formulas.items():
        ours = combined(fusion, pool(z, y), z.double()).softmax(-1)
        assert torch.allclose(ours, expected / expected.sum(-1, keepdim=True), atol=1e-12), fusion


def test_rules_of_values_follow_their_formulas():
    z = torch.randn(4, 9, 2)
    for fusion, expected in {
        Mean(): z.mean(0),
        Max(): z.amax(0),
        Min(): z.amin(0),
        Median(): torch.quantile(z, 0.5, 0),
    }.items():
        assert torch.allclose(combined(fusion, pool(z, torch.zeros(9, 2)), z), expected, atol=1e-6), fusion


def test_equal_members_multiplied_give_their_classes_more_certainly():
    z, y = drawn(members=1)
    ours = combined(Product(), pool(z.expand(3, -1, -1), y), z.expand(3, -1, -1)).softmax(-1)
    assert torch.equal(ours.argmax(-1), z[0].argmax(-1))
    assert (ours.amax(-1) > z[0].softmax(-1).amax(-1)).all()


INF = math.inf
VETOES = {
    "certain": torch.tensor([[[0.0, -INF, -INF]], [[-INF, 0.0, -INF]]]),
    "beyond float32": torch.tensor([[[1e38, -3e38, -3e38]], [[-3e38, 1e38, -3e38]]]),
    "each class by another": torch.tensor([[[-INF, 0.0, 0.0]], [[0.0, -INF, 0.0]], [[0.0, 0.0, -INF]]]),
}


@pytest.mark.parametrize("fusion", [Product(), Min()], ids=str)
@pytest.mark.parametrize("z", VETOES.values(), ids=VETOES.keys())
def test_where_members_veto_every_class_the_rule_is_the_mean(fusion, z):
    ours = combined(fusion, pool(z, torch.tensor([0])), z)
    assert ours.isfinite().all()
    assert torch.allclose(ours.softmax(-1), z.softmax(-1).mean(0))


@pytest.mark.parametrize("fusion", [Product(), Min(), Max(), Median(), MeanProbs(), Vote(), Weighted()], ids=str)
def test_vetoes_of_some_classes_leave_finite_outputs(fusion):
    z = torch.tensor([[[1.0, 0.0, -INF]], [[0.0, 2.0, -INF]], [[0.0, -INF, 1.0]]])
    ours = combined(fusion, pool(z, torch.tensor([1])), z)
    assert ours.isfinite().all()
    if isinstance(fusion, Product | Min):
        assert ours.softmax(-1).tolist() == [[1.0, 0.0, 0.0]]


def test_products_far_below_float32_keep_their_order():
    z = torch.tensor([[[0.0, -200.0, -300.0]], [[-250.0, 0.0, -300.0]]])
    ours = combined(Product(), pool(z, torch.tensor([0])), z)
    assert torch.allclose(ours - ours.amax(), torch.tensor([[-50.0, 0.0, -400.0]]))


def test_weights_without_a_finite_sum_are_refused():
    z, y = drawn(members=2)
    with pytest.raises(NotApplicable, match="finite sum"):
        Weighted(weights=(1e308, 1e308)).fuse(pool(z, y))
    with pytest.raises(NotApplicable, match="no member has a positive weight"):
        Weighted(weights=(0.0, 0.0)).fuse(pool(z, y))


# ------------------------------------------------------------------------------------------------- calibrated-mean


def test_a_class_that_is_impossible_does_not_decide_the_temperature():
    rng = torch.Generator().manual_seed(3)
    z = 3 * torch.randn(1, 500, 3, generator=rng)
    ruled_out = z[0].argmin(-1)
    z = z.scatter(-1, ruled_out[None, :, None], -INF)
    y = torch.multinomial(z[0].softmax(-1), 1, generator=rng)[:, 0]
    (found,) = sharpest(z, y).tolist()
    assert found == pytest.approx(1, abs=0.15)
    grid = torch.linspace(math.log(0.05), math.log(20), 4001, dtype=torch.float64).exp()
    nll = [float(torch.nn.functional.cross_entropy(z[0].double() * s, y)) for s in [*grid, found]]
    assert nll[-1] <= min(nll[:-1])
    wrong = y.clone()
    wrong[:50] = ruled_out[:50]  # these are wrong at every temperature
    assert sharpest(z, wrong).item() == pytest.approx(sharpest(z[:, 50:], y[50:]).item(), rel=1e-6)
    assert combined(CalibratedMean(), pool(z, wrong), z).isfinite().all()


@pytest.mark.parametrize("z", [torch.zeros(1, 4, 3), torch.tensor([0.0, 0.0, -INF]).expand(1, 4, 3)])
def test_where_nothing_depends_on_the_temperature_it_is_one(z):
    assert sharpest(z, torch.tensor([0, 1, 2, 2])).tolist() == [1.0]


def test_temperatures_have_the_least_nll_of_a_fine_grid():
    z, y = drawn(members=3, n=200)
    z = z * torch.tensor([0.3, 1.0, 8.0])[:, None, None]
    grid = torch.linspace(math.log(0.05), math.log(20), 4001, dtype=torch.float64).exp()
    for sharpness, member in zip(sharpest(z, y), z.double(), strict=True):
        nll = [float(torch.nn.functional.cross_entropy(member * s, y)) for s in [*grid, sharpness]]
        assert nll[-1] <= min(nll[:-1])


def test_members_of_other_temperatures_give_the_same_calibrated_mean():
    z, y = drawn(n=200)
    other = z * torch.tensor([0.5, 1.5, 2.0, 3.0])[:, None, None]
    assert torch.allclose(
        combined(CalibratedMean(), pool(z, y), z), combined(CalibratedMean(), pool(other, y), other), atol=1e-5
    )


@pytest.mark.parametrize(("sign", "bound"), [(1.0, 20.0), (-1.0, 0.05), (0.0, None)])
def test_temperatures_stay_in_their_bounds(sign, bound):
    y = torch.tensor([0, 1, 2, 0])
    (found,) = sharpest(sign * torch.nn.functional.one_hot(y, 3)[None].float(), y).tolist()
    assert 0.05 <= found <= 20.0
    assert bound is None or found == pytest.approx(bound, rel=1e-6)


# ------------------------------------------------------------------------------------------------- greedy-ensemble


def replay(p, y, rounds):
    """Caruana's selection in plain loops; of equals those in the bag, then by likelihood, then by place."""
    chosen, course = [], []
    for _ in range(rounds):
        tried = []
        for m in range(len(p)):
            total = sum((p[i] for i in [*chosen, m]), torch.zeros_like(p[0]))
            accuracy = (total.argmax(-1) == y).double().mean().item()
            right = total.double().gather(1, y[:, None])[:, 0] / (len(chosen) + 1)
            tried.append((accuracy, m in chosen, nets.log_probs(right).mean().item(), -m))
        best = max(tried)
        chosen.append(-best[-1])
        course.append(best[0])
    return chosen[: course.index(max(course)) + 1]


@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_selection_replays_by_plain_loops(seed, scale):
    z, y = drawn(seed, members=6, n=150, classes=4, scale=scale)
    assert choose(Classes(z, y), 12) == replay(z.softmax(-1), y, 12)


def test_greedy_selection_counts_ties_of_classes_as_accuracy_does():
    z, y = drawn(members=5, n=200, classes=3)
    z = 1000.0 * nets.one_hot_votes(z)  # votes, whose sums are often the same
    assert choose(Classes(z, y), 10) == replay(z.softmax(-1), y, 10)


def test_a_greedy_ensemble_is_never_worse_on_val_than_its_best_member():
    of = pool(*drawn(members=6))
    outputs = torch.stack([member.val_outputs for member in of.members])
    assert of.task.quality(combined(GreedyEnsemble(), of, outputs), of.val) >= max(m.score for m in of.members)


def test_members_that_are_never_added_are_not_deployed():
    z, y = drawn(members=3)
    z = torch.cat([z, -5 * torch.nn.functional.one_hot(y, 3)[None].float()])
    names = [member.name for member in GreedyEnsemble().fuse(pool(z, y)).members]
    assert "m3" not in names
    assert names == sorted(names)


# ------------------------------------------------------------------------------------------------- knora


def knora_by_loops(z, y, test, rule, k):
    """Ko et al. 2008 example by example: shares of the votes."""
    known, asked = (torch.cat(list(o.double().softmax(-1)), -1) for o in (z, test))
    right = (z.argmax(-1) == y).T
    shares = torch.zeros(len(asked), z.shape[-1], dtype=torch.float64)
    for n, profile in enumerate(asked):
        near = ((known - profile) ** 2).sum(1).argsort(stable=True)[:k]
        votes = right[near].sum(0).tolist()
        if rule == "eliminate":
            for size in range(len(near), 0, -1):
                votes = right[near[:size]].all(0).int().tolist()
                if any(votes):
                    break
        if not any(votes):
            votes = [1] * len(z)
        for member, count in enumerate(votes):
            shares[n, test[member, n].argmax()] += count
    return shares / shares.sum(1, keepdim=True)


@pytest.mark.parametrize("k", [1, 5, 500])
@pytest.mark.parametrize("rule", ["eliminate", "union"])
def test_knora_replays_by_plain_loops(rule, k):
    (z, y), (test, _) = drawn(0), drawn(1)
    expected = knora_by_loops(z, y, test, rule, k)
    ours = combined(Knora(rule=rule, k=k), pool(z, y), test)
    assert torch.allclose(ours.double().softmax(-1), expected, atol=1e-5)


@pytest.mark.parametrize("rule", ["eliminate", "union"])
def test_where_no_member_is_right_all_vote(rule):
    z, y = drawn()
    wrong = torch.where(torch.nn.functional.one_hot(y, 3).bool(), -9.0, z)
    ours, votes = (combined(fusion, pool(wrong, y), wrong) for fusion in (Knora(rule=rule), Vote()))
    assert torch.allclose(ours, votes)


def test_a_member_that_is_right_nearby_decides():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 4
    sure = torch.nn.functional.one_hot(y, 4) * 4.0
    guess = torch.nn.functional.one_hot((y + 1) % 4, 4) * 4.0
    expert = torch.where((y < 2)[:, None], sure, guess)  # one knows the first two classes, the other the rest
    z = torch.stack([expert, torch.where((y < 2)[:, None], guess, sure)]) + 0.1 * torch.randn(2, 80, 4, generator=rng)
    assert (combined(Knora(), pool(z, y), z).argmax(-1) == y).all()
    assert (combined(MeanProbs(), pool(z, y), z).argmax(-1) == y).float().mean() < 0.9


# ------------------------------------------------------------------------------------------------- gate


@pytest.fixture(scope="module")
def trained(lab):
    return lab.tuned(lab.POINTS, 2)


def predict(model, x):
    with nets.evaluation(model):
        return model(x)


def test_a_gate_that_has_learned_nothing_is_the_mean(lab, trained):
    of = lab.fusing(trained, lab.POINTS)
    gate, mean = (predict(fusion.fuse(of), of.val.x) for fusion in (Gate(steps=0), MeanProbs()))
    assert torch.allclose(gate.softmax(-1), mean.softmax(-1), atol=1e-6)


@pytest.mark.parametrize("task", ["POINTS", "LINE"])
def test_a_one_hot_gate_gives_that_member(lab, task):
    task = getattr(lab, task)
    of = lab.fusing(lab.tuned(task, 3), task)
    fused = Gate(steps=3).fuse(of)
    with torch.no_grad():
        fused.combine.last.zero_()
        fused.combine.last_bias.copy_(torch.tensor([0.0, 1000.0, 0.0]))
    expected = of.members[1].val_outputs
    expected = expected.log_softmax(-1) if task.kind == "classification" else expected
    assert torch.allclose(predict(fused, of.val.x), expected, atol=1e-5)


def test_a_gate_learns_which_member_is_right_where(lab):
    of = lab.fusing([lab.mlp(seed=1), lab.mlp(seed=2)], lab.POINTS)
    before, after = (predict(Gate(steps=steps).fuse(of), of.val.x) for steps in (0, 200))
    loss = torch.nn.functional.cross_entropy
    assert loss(after, of.val.y) < loss(before, of.val.y) - 0.05
    shares = Gate().fuse(of).combine.log_shares([m.net.features(of.val.x) for m in of.members]).exp()
    assert torch.allclose(shares.sum(1), torch.ones(len(shares)), atol=1e-6)
    assert shares.std(0).min() > 0.01


def test_a_gate_leaves_no_gradients_in_its_members(lab, trained):
    fused = Gate(steps=2).fuse(lab.fusing(trained, lab.POINTS))
    assert all(p.grad is None for net in trained for p in net.parameters())
    assert {id(p) for net in trained for p in net.parameters()} < {id(p) for p in fused.parameters()}


# ------------------------------------------------------------------------------------------------- mixed architectures


@pytest.fixture(scope="module")
def mixed(lab, trained):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = nets.Net([torch.nn.Sequential(torch.nn.Linear(4, 11), torch.nn.ReLU())], torch.nn.Linear(11, 3))
    lab.trainer(lab.POINTS, epochs=20).fit(wide, [{"params": wide.parameters()}])
    return [trained[0], wide.eval()]


@pytest.mark.parametrize("fusion", [*CLASSES, Gate()], ids=str)
def test_members_may_differ_in_architecture(lab, mixed, fusion):
    of = lab.fusing(mixed, lab.POINTS)
    outputs = predict(fusion.fuse(of), of.val.x)
    assert outputs.shape == (45, 3)
    assert of.task.quality(outputs, of.val) >= min(m.score for m in of.members)
