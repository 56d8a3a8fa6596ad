"""Rankings of backbones against brute force, and the schemes that report them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from finefuse.types import Data
from finefuse_zoo.schemes._transferability import h_score, leep, log_evidence, nce, trans_rate
from finefuse_zoo.schemes.rankings import HScore, Leep, LogMe, Nce, TransRate

CLASSES = 3


def problem(seed, n=40, width=5):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % CLASSES)
    features = rng.normal(size=(n, width)) + 0.8 * rng.normal(size=(CLASSES, width))[y]
    return torch.from_numpy(features), torch.from_numpy(y)


def one_hot(y):
    return torch.nn.functional.one_hot(y, CLASSES)


def best_evidence(features, y):
    """The largest log density of y under N(0, I / beta + F F' / alpha), by direct search, per example."""
    gram, n = features @ features.T, len(y)

    def minus(logs):
        alpha, beta = np.exp(logs)
        return -stats.multivariate_normal.logpdf(y, np.zeros(n), np.eye(n) / beta + gram / alpha)

    found = [optimize.minimize(minus, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
             for start in ([0, 0], [3, 1])]  # fmt: skip
    return -min(result.fun for result in found) / n


@pytest.mark.parametrize(("n", "width"), [(25, 4), (25, 15), (15, 30)])
@pytest.mark.parametrize("seed", range(2))
def test_logme_is_the_maximum_of_the_evidence(seed, n, width):
    features, y = problem(seed, n, width)
    value, _ = log_evidence(features, one_hot(y))
    expected = np.mean([best_evidence(features.numpy(), one_hot(y)[:, c].numpy()) for c in range(CLASSES)])
    assert value == pytest.approx(expected, rel=1e-4)


def test_logme_gives_the_posterior_mean_at_the_maximum():
    features, y = problem(3)
    _, weights = log_evidence(features, one_hot(y))
    f, target = features.numpy(), one_hot(y)[:, 0].double().numpy()

    def minus(log):
        covariance = np.eye(40) + f @ f.T / np.exp(log)
        variance = target @ np.linalg.solve(covariance, target) / 40  # the best 1 / beta for this alpha / beta
        return -stats.multivariate_normal.logpdf(target, np.zeros(40), variance * covariance)

    t = np.exp(optimize.minimize_scalar(minus, bounds=(-5, 15), method="bounded", options={"xatol": 1e-9}).x)
    ridge = np.linalg.solve(f.T @ f + t * np.eye(5), f.T @ target)
    assert np.abs(weights[0].numpy() - ridge).max() < 1e-4


def test_logme_does_not_see_rotations_but_sees_which_features_are_better():
    features, y = problem(0)
    value, _ = log_evidence(features, one_hot(y))
    turned, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert log_evidence(features @ turned, one_hot(y))[0] == pytest.approx(value, rel=1e-8)
    better = torch.cat([features, one_hot(y) + 0.1 * features[:, :3]], 1)
    worse = features[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert log_evidence(better, one_hot(y))[0] > value > log_evidence(worse, one_hot(y))[0]


@pytest.mark.parametrize("case", ["explained", "zeros", "constant", "random"])
def test_logme_is_finite_at_the_edges(case):
    features, y = problem(0)
    targets = {
        "explained": features[:, :2],
        "zeros": torch.cat([one_hot(y), torch.zeros(40, 1)], 1),
        "constant": torch.ones(40, 1),
        "random": torch.randn(40, 1, generator=torch.Generator().manual_seed(0)),
    }[case]
    value, weights = log_evidence(features, targets)
    assert math.isfinite(value)
    assert weights.isfinite().all()
    assert weights.shape == (targets.shape[1], 5)
    if case == "zeros":
        assert value == log_evidence(features, one_hot(y))[0]
        assert not weights[-1].any()


def test_leep_by_loops():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(4), size=25), rng.permutation(np.arange(25) % CLASSES)
    joint = np.zeros((CLASSES, 4))
    for row, label in zip(p, y, strict=True):
        joint[label] += row / 25
    total = 0.0
    for row, label in zip(p, y, strict=True):
        total += math.log(sum(joint[label, z] / joint[:, z].sum() * row[z] for z in range(4)))
    assert leep(torch.from_numpy(p), torch.from_numpy(y)) == pytest.approx(total / 25, rel=1e-12)


def test_leep_is_zero_where_source_classes_tell_the_target_and_the_entropy_where_they_do_not():
    y = torch.arange(30) % CLASSES
    telling = torch.nn.functional.one_hot(2 * y, 6).double()  # source classes 1, 3 and 5 never come
    assert leep(telling, y) == pytest.approx(0.0, abs=1e-12)
    assert leep(torch.full((30, 4), 0.25), y) == pytest.approx(-math.log(3))


def test_h_score_by_loops():
    features, y = (t.numpy() for t in problem(1))
    centred = features - features.mean(0)
    inner = sum(np.outer(row, row) for row in centred) / 40
    between = np.zeros((5, 5))
    for label in y:
        mean = centred[y == label].mean(0)
        between += np.outer(mean, mean) / 40
    expected = np.trace(np.linalg.solve(inner, between))
    assert h_score(torch.from_numpy(features), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("width", [5, 60])
def test_h_score_lies_between_zero_and_classes_less_one_and_knows_no_scale(width):
    features, y = problem(2, width=width)
    features[:, -1] = 0
    value = h_score(features, y)
    assert 0 < value < CLASSES - 1 + 1e-9
    assert h_score(100 * features - 7, y) == pytest.approx(value, rel=1e-6)


# ------------------------------------------------------------------------------------------------- the schemes


@pytest.mark.parametrize(("scheme", "name"), [(LogMe(), "logme"), (Leep(), "leep"), (HScore(), "h-score")])
@pytest.mark.parametrize("task", ["POINTS", "IMAGES"])
def test_rankings_report_one_figure_and_train_the_head_alone(lab, scheme, name, task):
    on = lab.tuning(getattr(lab, task))
    before = lab.state(on.model)
    scheme.tune(on)
    assert list(on.figures) == [name]
    assert type(on.figures[name]) is float
    assert math.isfinite(on.figures[name])
    assert lab.changed(before, on.model) == {"head.weight", "head.bias"}
    assert on.trainer.spent == 0
    right = (on.trainer.outputs(on.model, on.train.x).argmax(1) == on.train.y).double().mean()
    assert right > 0.5


def test_figures_are_those_of_the_pretrained_network_on_the_training_data(lab):
    figures = {}
    for scheme in (LogMe(), Leep(), HScore()):
        on = lab.tuning(lab.POINTS)
        scheme.tune(on)
        figures |= on.figures
    features, y = on.trainer.features(on.pretrained, on.train.x), on.train.y
    probabilities = on.trainer.outputs(on.pretrained, on.train.x).softmax(-1)
    assert figures["logme"] == log_evidence(features, one_hot(y))[0]
    assert figures["leep"] == leep(probabilities, y)
    assert figures["h-score"] == h_score(features, y)


def test_logme_regresses(lab):
    on = lab.tuning(lab.LINE)
    LogMe().tune(on)
    errors = on.trainer.outputs(on.model, on.train.x) - on.train.y
    assert errors.square().mean() < on.train.y.square().mean()
    assert math.isfinite(on.figures["logme"])


@pytest.mark.parametrize("scheme", [Leep(), HScore()])
def test_rankings_by_classes_say_so(scheme):
    assert scheme.kinds == ("classification",)


def test_noise_ranks_below_a_network_that_knows_the_classes(lab):
    def figures(x):
        on = lab.tuning(lab.POINTS)
        object.__setattr__(on, "train", Data(x(on), on.train.y))
        for scheme in (LogMe(), Leep(), HScore()):
            scheme.tune(on)
        return on.figures

    known = figures(lambda on: on.train.x)
    noise = figures(lambda on: torch.randn(on.train.x.shape, generator=torch.Generator().manual_seed(5)))
    assert all(known[name] > noise[name] for name in known)


def test_nce_by_counting():
    z, y = torch.tensor([0, 0, 0, 2, 2, 4]), torch.tensor([1, 1, 0, 2, 0, 2])
    wanted = (2 * math.log(2 / 3) + math.log(1 / 3) + 2 * math.log(1 / 2) + 0) / 6
    assert nce(z, y) == pytest.approx(wanted)
    assert nce(y, y) == 0
    assert nce(torch.zeros(6, dtype=torch.long), y) == pytest.approx(-math.log(3))


def test_nce_is_leep_of_certain_source_classes():
    _, y = problem(4)
    z = torch.randint(5, (40,), generator=torch.Generator().manual_seed(2))
    assert nce(z, y) == pytest.approx(leep(torch.nn.functional.one_hot(z, 5).double(), y))


@pytest.mark.parametrize(("n", "width"), [(40, 5), (12, 30)])
def test_transrate_by_eigenvalues(n, width):
    features, y = problem(5, n, width)
    f = features.numpy() - features.numpy().mean(0)
    f = f / np.sqrt((f**2).sum(1).mean())

    def rate(rows):
        values = np.linalg.eigvalsh(np.cov(rows.T, bias=True) + np.outer(rows.mean(0), rows.mean(0)))
        return 0.5 * np.log1p(values.clip(0) / 0.1**2).sum()

    wanted = rate(f) - sum(rate(f[y.numpy() == c]) * float((y == c).sum()) / n for c in range(CLASSES))
    assert trans_rate(features, y, 0.1) == pytest.approx(wanted, rel=1e-6)
    assert trans_rate(7 * features + 3, y, 0.1) == pytest.approx(wanted, rel=1e-6)
    assert trans_rate(torch.ones(n, width), y, 0.1) == 0


def test_transrate_is_higher_where_classes_lie_apart():
    features, y = problem(5)
    apart = features + 5 * one_hot(y).repeat(1, 2)[:, :5]
    mixed = y[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    assert trans_rate(apart, y, 0.1) > trans_rate(features, y, 0.1) > trans_rate(features, mixed, 0.1)


@pytest.mark.parametrize(("scheme", "figure"), [(Nce(), "nce"), (TransRate(), "transrate")])
def test_further_rankings_report_their_figure(lab, scheme, figure):
    on = lab.tuning(lab.IMAGES)
    scheme.tune(on)
    assert math.isfinite(on.figures[figure])
    if figure == "nce":
        z = on.trainer.outputs(on.pretrained, on.train.x).argmax(-1)
        assert on.figures["nce"] == nce(z, on.train.y) <= 0
    else:
        features = on.trainer.features(on.model, on.train.x)
        assert on.figures["transrate"] == trans_rate(features, on.train.y, 0.01) > 0
