"""How well a pretrained network suits a task, told from its outputs on the training data without training it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def leep(p: Tensor, y: Tensor) -> float:
    """Log expected empirical prediction (Nguyen et al. 2020, 2002.12462); at most 0, higher is better.

    1/N sum_i log sum_z P(y_i | z) p_iz, with P(y | z) from the joint distribution P(y, z) = 1/N sum_{i: y_i = y} p_iz.
    `p` (N, source classes) are the source head's probabilities, `y` (N,) the target classes.
    """
    p = p.double()
    joint = torch.nn.functional.one_hot(y).to(p).T @ p / len(y)
    expected = p @ (joint / joint.sum(0).clamp_min(torch.finfo(p.dtype).tiny)).T
    return float(expected.gather(1, y[:, None]).log().mean())


def h_score(features: Tensor, y: Tensor) -> float:
    """tr(cov(f)^+ cov(E[f | y])) (Bao et al. 2019, 2212.10082); from 0 to classes - 1, higher is better.

    `features` (N, width), `y` (N,); both covariances over the N examples, ^+ the pseudo-inverse.
    """
    f = features.double() - features.double().mean(0)
    member = torch.nn.functional.one_hot(y).to(f)
    means = (member.T @ f / member.sum(0).clamp_min(1)[:, None])[y]
    return float((torch.linalg.pinv(f.T @ f, hermitian=True) * (means.T @ means)).sum())


def nce(z: Tensor, y: Tensor) -> float:
    """-H(Y | Z) in nats, counted (Tran et al. 2019, 1908.08142); at most 0, higher is better.

    `z` (N,) are source classes, `y` (N,) target classes.
    """
    one_hot = torch.nn.functional.one_hot
    joint = one_hot(y).double().T @ one_hot(z).double() / len(y)
    given = joint / joint.sum(0).clamp_min(torch.finfo(joint.dtype).tiny)
    return float(torch.xlogy(joint, given).sum())


def trans_rate(features: Tensor, y: Tensor, epsilon: float) -> float:
    """R(F) - sum_c N_c / N R(F_c) in nats (Huang et al. 2022, 2106.09207); from 0, higher is better.

    R(F) = 1/2 log det(I + F'F / (N epsilon^2)), `features` F (N, width) centred and divided by the root of their mean
    squared length; `y` (N,) the classes. Features that are all alike have a rate of 0.
    """
    f = features.double() - features.double().mean(0)
    length = f.square().sum(1).mean().sqrt()
    f = f / torch.where(length > 0, length, torch.ones_like(length))

    def rate(rows: Tensor) -> Tensor:
        count, width = rows.shape
        gram = rows.T @ rows if count > width else rows @ rows.T  # the same determinant
        return 0.5 * torch.logdet(torch.eye(len(gram)).to(gram) + gram / (count * epsilon**2))

    within = [rate(f[y == c]) * float((y == c).sum()) / len(y) for c in range(int(y.max()) + 1) if (y == c).any()]
    return float(rate(f) - torch.stack(within).sum())


def log_evidence(features: Tensor, targets: Tensor, most: int = 1000) -> tuple[float, Tensor]:
    """LogME (You et al. 2021, 2102.11005): the largest log evidence per example of Bayesian linear regression.

    y ~ N(F w, 1 / beta), w ~ N(0, 1 / alpha) for each column of `targets` (N, outputs) by itself, and the mean over the
    columns; `features` F (N, width). MacKay's fixed point finds t = alpha / beta, for which the best beta is known.
    Also gives the posterior mean of w, (outputs, width). A column of zeros has no largest evidence and is left out.
    """
    y = targets.double()[:, targets.any(0)]
    n, width = features.shape
    u, s, v = torch.linalg.svd(features.double(), full_matrices=False)
    s, z = s[:, None], u.T @ y
    left: Tensor = (y.square().sum(0) - z.square().sum(0)).clamp_min(0)  # what no w can explain

    def residual(t: Tensor) -> Tensor:
        missed: Tensor = (t / (t + s.square()) * z).square().sum(0)
        return missed + left

    smallest, largest = (float(bound * s.max().square()) for bound in (1e-12, 1e12))
    t = torch.full_like(left, float(s.square().mean()))
    for _ in range(most):
        used = (s.square() / (t + s.square())).sum(0)  # MacKay's gamma: so many directions are determined by the data
        free = (t / (t + s.square())).sum(0) + n - len(s)  # N - gamma
        size = (s / (t + s.square()) * z).square().sum(0)  # ||w||^2
        last, t = t, (used * residual(t) / (free * size)).nan_to_num(largest).clamp(smallest, largest)
        if torch.allclose(last, t, rtol=1e-10):
            break
    variance = ((t / (t + s.square()) * z.square()).sum(0) + left).clamp_min(1e-12 * y.square().sum(0)) / n  # 1 / beta
    evidence = -0.5 * n * (2 * torch.pi * variance).log() - 0.5 * n - 0.5 * (1 + s.square() / t).log().sum(0)
    weights = torch.zeros(targets.shape[1], width, dtype=v.dtype, device=v.device)
    weights[targets.any(0)] = (s / (t + s.square()) * z).T @ v
    return float(evidence.mean() / n), weights
