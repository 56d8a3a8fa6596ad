"""The convex problems behind `linear-probe`, `lp-ft` and `stacking`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH = 1e-7
"""The gradient's norm at the optimum, measured by the curvature there."""


def fit_linear(features: Tensor, y: Tensor, classes: int, C: float) -> tuple[Tensor, Tensor]:
    """Weights (outputs, width) and bias (outputs,) at the optimum, in float64; `classes` 0 means regression.

    Minimises 1/2 ||W||^2 + C sum_i loss(W x_i + b, y_i) with b unpenalised, as scikit-learn's LogisticRegression and
    Ridge do; the loss is cross-entropy, or half the squared error. Nothing random is involved.
    """
    if not classes:
        return fit_ridge(features, y, [1 / C])
    x, axes = _narrow(features.double())
    weight, bias = _logistic(x, y, classes, C)
    return weight @ axes.T if axes is not None else weight, bias


def fit_ridge(x: Tensor, y: Tensor, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Ridge regression with the penalty whose leave-one-out error is smallest, as scikit-learn's RidgeCV does it.

    Minimises sum_i ||W x_i + b - y_i||^2 + penalty ||W||^2, b unpenalised. The residual of an example that is left out
    is e_i / (1 - h_i), h_i being the diagonal of the projection from targets to fitted values (Golub et al. 1979, doi
    10.1080/00401706.1979.10489751). All targets share a penalty; of two that are as good the first is taken.
    """
    x, y = x.double(), y.double().reshape(len(y), -1)
    mean, level = x.mean(0), y.mean(0)
    y = y - level
    x, narrowed = _narrow(x - mean)
    sizes, axes = torch.linalg.eigh(x.T @ x)
    turned = x @ axes
    seen = turned.T @ y

    def left_out(penalty: float) -> float:
        leverage = turned.square() @ (1 / (sizes + penalty)) + 1 / len(x)
        residual = y - turned @ (seen / (sizes + penalty)[:, None])
        return float((residual / (1 - leverage)[:, None]).square().mean())

    best = min(penalties, key=left_out) if len(penalties) > 1 else penalties[0]
    weight = (axes @ (seen / (sizes + best)[:, None])).T
    weight = weight @ narrowed.T if narrowed is not None else weight
    return weight, level - weight @ mean


def _narrow(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Examples (n, width) in coordinates of the space that they span, (n, n), and its axes (width, n).

    The optimal weights lie in that space, and orthogonal axes leave their norm as it is. Where there are no fewer
    examples than features, these are the coordinates, and there are no axes.
    """
    if x.shape[1] <= len(x):
        return x, None
    axes, coordinates = torch.linalg.qr(x.T)
    return coordinates.T, axes


def _logistic(features: Tensor, y: Tensor, classes: int, C: float) -> tuple[Tensor, Tensor]:
    """Newton's method from zero, each step by conjugate gradients as exact as it needs to be, with a line search.

    The steps are found in coordinates in which the mean curvature over the classes is about one, so that badly scaled
    features and sure predictions cost little more than others. The curvature is taken from eight examples per feature.
    """
    width = features.shape[1]
    x = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    ridge = torch.full((width + 1,), 1 / C, dtype=x.dtype, device=x.device)
    ridge[-1] = 0.0
    one_hot = torch.nn.functional.one_hot(y, classes).to(x)
    stride = max(1, len(x) // (8 * width))

    def objective(v: Tensor) -> float:
        misfit = torch.nn.functional.cross_entropy(x @ v.T, y, reduction="sum")
        return float(0.5 * (ridge * v.square()).sum() + misfit)

    v = torch.zeros(classes, width + 1, dtype=x.dtype, device=x.device)
    value = objective(v)
    for _ in range(100):
        p = (x @ v.T).softmax(1)
        gradient = (p - one_hot).T @ x + ridge * v
        some, spread = x[::stride], (1 - p[::stride].square().sum(1, keepdim=True)) * stride / classes
        curvature = (some * spread).T @ some + torch.diag(ridge.clamp_min(1e-6))
        step = _newton_step(gradient, x, p, ridge, torch.linalg.cholesky(curvature))
        if step is None:
            break
        slope, length = float((gradient * step).sum()), 1.0
        allowed = 1e-12 * abs(value)  # what rounding may do
        while not (new := objective(v + length * step)) <= value + 1e-4 * length * slope + allowed and length > 1e-9:
            length /= 2
        v, value = v + length * step, new
    return v[:, :width], v[:, width]


def _newton_step(gradient: Tensor, x: Tensor, p: Tensor, ridge: Tensor, factor: Tensor) -> Tensor | None:
    """Conjugate gradients, preconditioned by what `factor` is the Cholesky factor of; None where nothing is to do."""

    def hessian(q: Tensor) -> Tensor:
        change = p * (x @ q.T)
        return (change - p * change.sum(1, keepdim=True)).T @ x + ridge * q

    step, rest = torch.zeros_like(gradient), -gradient
    direction = near = torch.cholesky_solve(rest.T, factor).T
    start = left = float((rest * near).sum())
    if start <= ENOUGH**2:
        return None
    enough = start * min(0.1, max(start, 1e-8) ** 0.5) ** 2
    for _ in range(250):
        if left <= enough:
            break
        curved = hessian(direction)
        if not (bend := float((direction * curved).sum())) > 0:
            break
        step = step + left / bend * direction
        rest = rest - left / bend * curved
        near = torch.cholesky_solve(rest.T, factor).T
        before, left = left, float((rest * near).sum())
        direction = near + left / before * direction
    return step
