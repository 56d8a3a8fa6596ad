"""The solvers of the convex problems, on what is hard for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finefuse_zoo.linear import fit_linear, fit_ridge


def gradient(x, y, classes, C, weight, bias):
    """Gradients of 1/2 ||W||^2 / C + sum CE by the weights and by the biases, which are 0 at the optimum."""
    wrong = (x.double() @ weight.T + bias).softmax(1) - torch.nn.functional.one_hot(y, classes)
    return weight / C + wrong.T @ x.double(), wrong.sum(0)


@pytest.mark.parametrize("C", [0.01, 1.0, 1e4])
@pytest.mark.parametrize("kind", ["badly scaled", "separable", "more features than examples", "many examples"])
def test_gradients_vanish_at_the_optimum(kind, C):
    rng = torch.Generator().manual_seed(0)
    n, width = {"more features than examples": (40, 90), "many examples": (900, 6)}.get(kind, (150, 12))
    x = torch.randn(n, width, generator=rng, dtype=torch.float64)
    y = (x[:, :5] + (0.0 if kind == "separable" else 1.0) * torch.randn(n, 5, generator=rng)).argmax(1)
    x = x * torch.logspace(-3, 3, width) if kind == "badly scaled" else x
    weight, bias = fit_linear(x, y, 5, C)
    by_weight, by_bias = gradient(x, y, 5, C, weight, bias)
    assert (by_weight / x.norm(dim=0)).abs().max() < 1e-6
    assert by_bias.abs().max() < 1e-6


def test_a_class_without_examples_does_no_harm():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 4, generator=rng), torch.arange(50) % 2
    weight, bias = fit_linear(x, y, 3, 1.0)
    assert weight.isfinite().all()
    assert (x.double() @ weight.T + bias).argmax(1).max() < 2


def test_the_penalty_of_least_error_is_chosen_leaving_out_one_by_one():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(25, 8)))
    y = 2 * x[:, :1] + torch.from_numpy(rng.normal(size=(25, 2)))
    penalties = [0.01, 3.0, 1000.0]

    def left_out(penalty):
        total = 0.0
        for i in range(len(x)):
            rest = torch.arange(len(x)) != i
            weight, bias = fit_ridge(x[rest], y[rest], [penalty])
            total += float((x[i] @ weight.T + bias - y[i]).square().sum())
        return total

    best = min(penalties, key=left_out)
    assert best not in (penalties[0], penalties[-1])
    chosen, expected = fit_ridge(x, y, penalties), fit_ridge(x, y, [best])
    assert all(torch.equal(one, other) for one, other in zip(chosen, expected, strict=True))
