"""Singular vectors of changes of weights, by the eigenvectors of the smaller Gram matrix: faster than an SVD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

NEGLIGIBLE = 1e-6
"""Singular values below this share of the largest count as 0: float32 weights are no more precise."""


def singular(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, r), S (r,) descending, and V' (r, n), r = min(m, n), of a float64 matrix (m, n).

    Negligible singular values are set to 0, and so are their vectors on the longer side.
    """
    m, n = matrix.shape
    if m > n:
        u, s, vh = singular(matrix.T)
        return vh.T, s, u.T
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    s, u = values.flip(0).clamp_min(0).sqrt(), vectors.flip(1)
    s = torch.where(s > NEGLIGIBLE * s.amax(), s, torch.zeros_like(s))
    inverse = torch.where(s > 0, 1 / s, torch.zeros_like(s))
    return u, s, (u.T @ matrix).mul_(inverse[:, None])


def polar(matrix: Tensor) -> Tensor:
    """U V' of a float64 matrix: all singular values set to 1, negligible ones to 0."""
    u, _, vh = singular(matrix)
    return u @ vh
