"""Each fusion by closed form or by replay; the laws that hold for all are tried in tests/contract."""

from __future__ import annotations

import copy

import pytest
import torch

from finefuse import nets
from finefuse.errors import NotApplicable
from finefuse.types import Member
from finefuse_zoo.fusions.greedy_soup import GreedySoup
from finefuse_zoo.fusions.mean_probs import MeanProbs
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.stacking import Stacking
from finefuse_zoo.fusions.vote import Vote
from finefuse_zoo.fusions.weighted import Weighted

ALL = [
    Vote(),
    MeanProbs(),
    Weighted(),
    Weighted(by="softmax"),
    Weighted(by="above-chance"),
    Stacking(),
    Soup(),
    GreedySoup(),
]


def ids(fusions):
    return [f"{type(f).__name__}-{i}" for i, f in enumerate(fusions)]


def predict(model, x):
    with torch.no_grad():
        return model.eval()(x)


@pytest.fixture(scope="module")
def trained(lab):
    return lab.tuned(lab.IMAGES, 3)


@pytest.mark.parametrize("fusion", ALL, ids=ids(ALL))
def test_every_fusion_gives_finite_outputs_of_the_right_shape(lab, trained, fusion):
    of = lab.fusing(trained, lab.IMAGES)
    outputs = predict(fusion.fuse(of), of.val.x)
    assert outputs.shape == (45, 3)
    assert outputs.isfinite().all()
    assert (outputs.argmax(-1) == of.val.y).float().mean() > 0.6


def outputs_only(lab, outputs, scores=None):
    """A fusing of members of which only the outputs exist."""
    scores = scores or [0.5] * len(outputs)
    of = lab.fusing([lab.mlp()])
    members = [Member(f"m{i}", s, o, lab.mlp) for i, (o, s) in enumerate(zip(outputs, scores, strict=True))]
    return of.__class__(of.task, members, of.rng, of.val, of.train)


def test_votes_are_counted_and_ties_go_to_the_lowest_class(lab):
    classes = torch.tensor([[0, 2, 1], [0, 1, 2], [1, 1, 2]])  # members x examples
    outputs = torch.nn.functional.one_hot(classes, 3).float()
    combined = Vote().fuse(outputs_only(lab, list(outputs))).combine(outputs)
    assert combined.argmax(-1).tolist() == [0, 1, 2]
    tie = torch.nn.functional.one_hot(torch.tensor([[2], [1]]), 3).float()
    assert Vote().fuse(outputs_only(lab, list(tie))).combine(tie).argmax(-1).tolist() == [1]


def test_mean_of_probabilities(lab):
    z = torch.randn(3, 5, 3)
    combined = MeanProbs().fuse(outputs_only(lab, list(z))).combine(z)
    assert torch.allclose(combined.softmax(-1), z.softmax(-1).mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        (Weighted(), [0.9 / 1.5, 0.6 / 1.5]),
        (Weighted(by="above-chance"), [(0.9 - 1 / 3) / (1.5 - 2 / 3), (0.6 - 1 / 3) / (1.5 - 2 / 3)]),
        (Weighted(by="softmax", temperature=0.1), torch.tensor([9.0, 6.0]).softmax(0).tolist()),
        (Weighted(weights=(0.3, 0.9)), [0.25, 0.75]),
    ],
)
def test_weights_follow_the_formula(lab, fusion, expected):
    z = torch.randn(2, 5, 3)
    combined = fusion.fuse(outputs_only(lab, list(z), [0.9, 0.6])).combine(z)
    wanted = sum(w * p for w, p in zip(expected, z.softmax(-1), strict=True))
    assert torch.allclose(combined.softmax(-1), wanted, atol=1e-5)


def test_the_articles_weights_of_three_members(lab):
    z = torch.randn(3, 4, 3)
    combined = Weighted(weights=(0.3, 0.3, 0.4)).fuse(outputs_only(lab, list(z))).combine(z)
    p = z.softmax(-1)
    assert torch.allclose(combined.softmax(-1), 0.3 * p[0] + 0.3 * p[1] + 0.4 * p[2], atol=1e-6)


def test_one_hot_weights_give_that_member(lab, trained):
    of = lab.fusing(trained, lab.IMAGES)
    fused = predict(Weighted(weights=(0.0, 1.0, 0.0)).fuse(of), of.val.x)
    assert torch.allclose(fused.softmax(-1), of.members[1].val_outputs.softmax(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "scores", "why"),
    [
        (Weighted(weights=(1.0,)), [0.5, 0.5], "1 weights were given for 2 members"),
        (Weighted(weights=(0.0, 0.0)), [0.5, 0.5], "no member has a positive weight"),
        (Weighted(by="above-chance"), [0.2, 0.3], "no member has a positive weight"),
    ],
)
def test_weights_that_make_no_sense_are_not_applicable(lab, fusion, scores, why):
    with pytest.raises(NotApplicable, match=why):
        fusion.fuse(outputs_only(lab, list(torch.randn(2, 5, 3)), scores))


def test_weights_by_accuracy_refuse_regression(lab):
    with pytest.raises(NotApplicable, match="regression has none; use by = 'softmax'"):
        Weighted(by="accuracy").fuse(lab.fusing([lab.network(lab.LINE)] * 2, lab.LINE))


def test_without_a_word_values_are_weighted_by_softmax(lab):
    of = lab.fusing([lab.network(lab.LINE), lab.network(lab.LINE, seed=1)], lab.LINE)
    x = of.val.x
    assert torch.equal(predict(Weighted().fuse(of), x), predict(Weighted(by="softmax").fuse(of), x))


@pytest.mark.parametrize("fusion", [Weighted(by="softmax"), Stacking(), Soup(), GreedySoup()], ids=str)
def test_regression_is_fused_too(lab, fusion):
    trained = lab.tuned(lab.LINE, 2)
    of = lab.fusing(trained, lab.LINE)
    fused = lab.LINE.quality(predict(fusion.fuse(of), of.val.x), of.val)
    assert fused > min(m.score for m in of.members)


def test_a_soup_is_the_mean_with_renewed_statistics(lab, trained):
    of = lab.fusing(trained, lab.IMAGES)
    soup, stale = Soup().fuse(of), Soup(recalibrate=False).fuse(of)
    for name, p in soup.named_parameters():
        mean = sum(dict(net.named_parameters())[name].double() for net in trained) / 3
        assert torch.allclose(p.double(), mean, atol=1e-6)
    assert lab.changed(lab.state(stale), soup)
    assert all("running" in n or "tracked" in n for n in lab.changed(lab.state(stale), soup))


def test_a_greedy_soup_replays_by_hand(lab, trained):
    spoiled = copy.deepcopy(trained[2])
    with torch.no_grad():
        for p in spoiled.parameters():
            p.add_(torch.randn_like(p))
    of = lab.fusing([spoiled, *trained], lab.IMAGES)
    chosen, best = [], -1.0
    for candidate in sorted(of.members, key=lambda m: -m.score):
        trial = [*chosen, candidate]
        net = nets.averaged(trial, [1 / len(trial)] * len(trial), of.train.x)
        score = of.task.quality(predict(net, of.val.x), of.val)
        if score > best:
            chosen, best = trial, score
    expected = nets.averaged(chosen, [1 / len(chosen)] * len(chosen), of.train.x)
    assert lab.changed(lab.state(expected), GreedySoup().fuse(of)) == set()
    assert spoiled not in [m.net for m in chosen]


def test_a_greedy_soup_is_never_worse_on_val_than_its_best_member(lab, trained):
    of = lab.fusing(trained, lab.IMAGES)
    score = of.task.quality(predict(GreedySoup().fuse(of), of.val.x), of.val)
    assert score >= max(m.score for m in of.members)


@pytest.mark.parametrize("fusion", [Soup(), GreedySoup()], ids=["soup", "greedy-soup"])
def test_weights_of_different_networks_are_not_averaged(lab, trained, fusion):
    wide = copy.deepcopy(trained[0])
    wide.stages.append(torch.nn.Linear(6, 6))
    with pytest.raises(NotApplicable, match="differ in architecture"):
        fusion.fuse(lab.fusing([trained[0], wide], lab.IMAGES))
