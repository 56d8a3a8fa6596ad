"""Penalties on weights and on their distance from the start."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from finefuse_zoo.schemes._penalties import half_square, proximal_step, starting_points, step_size, weights_of
from finefuse_zoo.schemes.elastic import Elastic
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.l1 import L1
from finefuse_zoo.schemes.l1_sp import L1Sp
from finefuse_zoo.schemes.l2 import L2
from finefuse_zoo.schemes.l2_sp import L2Sp

NOTHING = [L2(0.0), L1(0.0), Elastic(0.0, 0.0), L2Sp(0.0, 0.0), L1Sp(0.0, 0.0)]


def tuned(lab, scheme, task=None, **recipe):
    on = lab.tuning(task or lab.IMAGES)
    on.model.recipe = replace(on.model.recipe, **recipe)
    scheme.tune(on)
    return on


def size(tensors) -> float:
    return float(half_square(tensors).detach())


def zeros(net) -> int:
    return sum(int((p == 0).sum()) for p in weights_of(net))


def at_the_start(on) -> int:
    pairs = zip(on.model.stages.parameters(), on.pretrained.stages.parameters(), strict=True)
    return sum(int((p == w0).sum()) for p, w0 in pairs)


@pytest.mark.parametrize("scheme", NOTHING, ids=str)
@pytest.mark.parametrize("which", ["IMAGES", "POINTS", "LINE"])
def test_without_a_penalty_it_is_full_without_weight_decay_to_the_bit(lab, scheme, which):
    task = getattr(lab, which)
    ours, full = tuned(lab, scheme, task), tuned(lab, Full(), task, weight_decay=0.0)
    assert lab.changed(lab.state(full.model), ours.model) == set()


def test_weights_are_matrices_and_kernels(lab):
    net = lab.cnn()
    names = {name for name, p in net.named_parameters() if any(p is w for w in weights_of(net))}
    assert names == {"stages.0.0.weight", "stages.1.0.weight", "head.weight"}


def test_half_square_is_half_the_squared_norm():
    assert float(half_square([torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])])) == 7.0


# ------------------------------------------------------------------------------------------------------ proximal steps


def test_the_proximal_step_is_the_soft_threshold_at_the_step_size_of_the_group():
    rng = torch.Generator().manual_seed(0)
    slow, fast, free = (torch.nn.Parameter(torch.randn(50, generator=rng)) for _ in range(3))
    centre = torch.randn(50, generator=rng)
    optimizer = torch.optim.SGD([{"params": [slow, free], "lr": 0.1}, {"params": [fast], "lr": 0.5}])
    before = [p.tolist() for p in (slow, fast, free)]
    proximal_step(2.0, {slow: 0.0, fast: centre})(optimizer)

    def soft(d: float, by: float) -> float:
        return math.copysign(max(abs(d) - by, 0.0), d)

    assert slow.tolist() == pytest.approx([soft(w, 0.2) for w in before[0]])
    expected = [c + soft(w - c, 1.0) for w, c in zip(before[1], centre.tolist(), strict=True)]
    assert fast.tolist() == pytest.approx(expected)
    assert free.tolist() == before[2]


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (torch.optim.SGD, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.Adam, {}),
        (torch.optim.AdamW, {"weight_decay": 0.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("gradient", [0.01, 3.0])
def test_the_size_of_a_step_is_what_a_lasting_gradient_moves_a_weight_by(make, options, gradient):
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = make([p], lr=0.1, **options)
    for _ in range(300):
        before = p.detach().clone()
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
    moved = (before - p.detach()) / gradient
    size = torch.as_tensor(step_size(optimizer, optimizer.param_groups[0], p), dtype=torch.float64)
    assert torch.allclose(size.expand(2), moved, rtol=1e-6)


def test_weights_that_reach_their_centre_are_equal_to_it_in_every_bit():
    centre = torch.randn(500, generator=torch.Generator().manual_seed(1)) * 1e-6
    p = torch.nn.Parameter(torch.randn(500, generator=torch.Generator().manual_seed(2)))
    optimizer = torch.optim.SGD([p], lr=1.0)
    proximal_step(100.0, {p: centre})(optimizer)
    assert torch.equal(p.detach(), centre)


@pytest.mark.parametrize("scheme", [L1, lambda s: Elastic(l1=s)], ids=["l1", "elastic"])
def test_more_of_the_1_norm_makes_more_exact_zeros(lab, scheme):
    counts = [zeros(tuned(lab, scheme(strength)).model) for strength in (0.0, 0.01, 0.1, 10.0)]
    assert counts[0] == 0
    assert counts == sorted(set(counts))
    assert counts[-1] == sum(p.numel() for p in weights_of(lab.cnn()))


def test_the_1_norm_leaves_biases_and_norms_alone(lab):
    net = tuned(lab, L1(10.0)).model
    assert all(bool(p.detach().abs().sum() > 0) for p in net.parameters() if p.ndim == 1)


def test_elastic_is_both(lab):
    l1 = tuned(lab, L1(0.05)).model
    l2 = tuned(lab, L2(0.05)).model
    for only, same in ((Elastic(l1=0.05, l2=0.0), l1), (Elastic(l1=0.0, l2=0.05), l2)):
        assert lab.changed(lab.state(same), tuned(lab, only).model) == set()
    both = tuned(lab, Elastic(0.05, 0.05)).model
    assert lab.changed(lab.state(l1), both)
    assert lab.changed(lab.state(l2), both)


def test_the_square_is_weight_decay_under_plain_sgd(lab):
    penalised = tuned(lab, L2(0.3)).model
    decayed = lab.tuning(lab.IMAGES)
    groups = [
        {"params": [p], "lr": 0.05, "weight_decay": 0.3 if p.ndim > 1 else 0.0} for p in decayed.model.parameters()
    ]
    decayed.trainer.fit(decayed.model, groups)
    for p, q in zip(penalised.parameters(), decayed.model.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-5)


def test_more_of_the_square_makes_smaller_weights(lab):
    norms = [size(weights_of(tuned(lab, L2(s)).model)) for s in (0.0, 0.1, 1.0)]
    assert norms == sorted(norms, reverse=True)


# ---------------------------------------------------------------------------------------- distance from the start


def test_starting_points_are_the_pretrained_weights_by_name(lab):
    on = lab.tuning(lab.IMAGES)
    with torch.no_grad():
        for p in on.model.stages.parameters():
            p.add_(1.0)  # as after an earlier phase
    on.model.stages[0].add_module("extra", torch.nn.BatchNorm2d(4))
    start = starting_points(on)
    assert len(start) == len(list(on.pretrained.stages.parameters()))
    assert all(torch.allclose(p - 1.0, w0, atol=1e-6) and not w0.requires_grad for p, w0 in start.items())
    assert not any(p is q for p in on.model.stages[0].extra.parameters() for q in start)


def test_more_of_l2_sp_stays_nearer_to_the_start(lab):
    def distance(on):
        return size(p - w0 for p, w0 in starting_points(on).items())

    distances = [distance(tuned(lab, L2Sp(alpha=alpha))) for alpha in (0.0, 0.1, 1.0, 10.0)]
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("scheme", [L2Sp, L1Sp])
def test_more_of_beta_makes_a_smaller_head(lab, scheme):
    heads = [tuned(lab, scheme(beta=beta)).model.head for beta in (0.0, 0.1, 1.0)]
    norms = [size(head.parameters()) for head in heads]
    assert norms == sorted(norms, reverse=True)


def test_more_of_l1_sp_keeps_more_weights_exactly_at_the_start(lab):
    kept = [at_the_start(tuned(lab, L1Sp(alpha=alpha))) for alpha in (0.0, 0.003, 0.03, 1.0)]
    assert kept == sorted(set(kept))
    assert kept[-1] == sum(p.numel() for p in lab.cnn().stages.parameters())


def test_l1_sp_trains_the_head_while_it_holds_the_backbone(lab):
    on = tuned(lab, L1Sp(alpha=100.0, norm="affine"))
    start = lab.tuning(lab.IMAGES).model
    assert lab.changed(lab.state(start), on.model) == {"head.weight", "head.bias"}
