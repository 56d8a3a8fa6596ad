"""Penalties on weights against scikit-learn, where the network is linear and training converges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from torch import nn

from finefuse import Classification, Regression
from finefuse.nets import Net
from finefuse.types import Data, Recipe
from finefuse_zoo.schemes.elastic import Elastic
from finefuse_zoo.schemes.l1 import L1
from finefuse_zoo.schemes.l1_sp import L1Sp
from finefuse_zoo.schemes.l2 import L2
from finefuse_zoo.schemes.l2_sp import L2Sp

N, WIDTH, STEPS = 80, 5, 500


def converge(lab, scheme, task, net, x, y):
    """Many steps on all examples at once."""
    data = Data(torch.from_numpy(x).float(), torch.from_numpy(y))
    on = lab.tuning(task)
    trainer = type(on.trainer)(task, data, lab.Budget(STEPS, N), seed=0)
    pretrained = Net([nn.Linear(WIDTH, 1, bias=False)], nn.Linear(1, 1)) if task.kind == "regression" else net
    pretrained.load_state_dict(net.state_dict())
    scheme.tune(type(on)(**{**vars(on), "model": net, "pretrained": pretrained, "train": data, "trainer": trainer}))
    return net


@pytest.mark.parametrize(
    ("scheme", "l1", "l2"),
    [(L2(0.02), 0.0, 0.02), (L1(0.02), 0.02, 0.0), (Elastic(0.01, 0.03), 0.01, 0.03)],
    ids=["l2", "l1", "elastic"],
)
@pytest.mark.parametrize("recipe", [Recipe("sgd", lr=0.3), Recipe("adam", lr=0.2)], ids=["sgd", "adam"])
def test_a_penalised_head_is_scikit_learns_logistic_regression(lab, scheme, l1, l2, recipe):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, WIDTH)), rng.integers(0, 3, size=N)
    x[:, 0] += y
    net = Net([nn.Identity()], nn.Linear(WIDTH, 3), recipe)
    net = converge(lab, scheme, Classification(3, "tabular", (WIDTH,)), net, x, y)
    total = l1 + l2
    reference = LogisticRegression(
        C=1 / (N * total), l1_ratio=l1 / total, solver="saga", tol=1e-8, max_iter=20_000, random_state=0
    ).fit(x, y)
    ours = net.head.weight.detach().numpy()
    assert np.abs(ours - reference.coef_).max() < 2e-4
    assert ((ours == 0) == (reference.coef_ == 0)).all()
    if l1:
        assert (ours == 0).any()


class Through(nn.Linear):
    """A head that hands on what it gets."""

    def forward(self, x):
        return x


def linear_problem(lab, scheme, seed):
    """The weights that a scheme finds for a linear model, and w0, X and y."""
    rng = np.random.default_rng(seed)
    x, start = rng.normal(size=(N, WIDTH)), rng.normal(size=WIDTH)
    y = x @ (start + np.array([1.0, 0.5, 0.02, 0.0, -0.7])) + 0.1 * rng.normal(size=N)
    net = Net([nn.Linear(WIDTH, 1, bias=False)], Through(1, 1), Recipe("sgd", lr=0.05))
    with torch.no_grad():
        net.stages[0].weight.copy_(torch.from_numpy(start)[None])
    task = Regression(1, "tabular", (WIDTH,))
    converge(lab, scheme, task, net, x, y[:, None].astype(np.float32))
    return net.stages[0].weight.detach().double().numpy()[0], start, x, y


@pytest.mark.parametrize("alpha", [0.01, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_l2_sp_of_a_linear_model_is_ridge_regression_on_the_residual(lab, alpha, seed):
    """1/N ||y - Xw||^2 + alpha/2 ||w - w0||^2: the one half makes it a ridge of N alpha / 2."""
    ours, start, x, y = linear_problem(lab, L2Sp(alpha=alpha), seed)
    ridge = N * alpha / 2
    closed = start + np.linalg.solve(x.T @ x + ridge * np.eye(WIDTH), x.T @ (y - x @ start))
    reference = start + Ridge(alpha=ridge, fit_intercept=False).fit(x, y - x @ start).coef_
    assert np.abs(closed - reference).max() < 1e-12
    assert np.abs(ours - closed).max() < 1e-5


@pytest.mark.parametrize("alpha", [0.1, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_l1_sp_of_a_linear_model_is_the_lasso_on_the_residual(lab, alpha, seed):
    ours, start, x, y = linear_problem(lab, L1Sp(alpha=alpha), seed)
    lasso = Lasso(alpha=alpha / 2, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x, y - x @ start)
    assert np.abs(ours - start - lasso.coef_).max() < 1e-4
    assert ((ours == start.astype(np.float32)) == (lasso.coef_ == 0)).all()
    assert (lasso.coef_ == 0).any()
