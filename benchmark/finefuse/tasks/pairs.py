"""How much members differ, as means over all pairs of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def correlation(residuals: Tensor) -> Mapping[str, float | None]:
    """Correlation of members' errors (members, numbers), float64; nothing for a single member."""
    pairs = list(combinations(range(len(residuals)), 2))
    return {"correlation": _mean([_ratio(*_covariance(residuals[i], residuals[j])) for i, j in pairs])} if pairs else {}


def agreement(right: Tensor) -> Mapping[str, float | None]:
    """For where members (members, N) are right: disagreement, Yule's Q, correlation; nothing for a single member.

    Disagreement is how often only one of the two is right (Kuncheva and Whitaker 2003, doi 10.1023/A:1022859003006).
    """
    hits = right.double()
    tables = [_table(hits[i], hits[j]) for i, j in combinations(range(len(hits)), 2)]
    if not tables:
        return {}
    return {
        "disagreement": _mean([(one + other) / right.shape[-1] for _, one, other, _ in tables]),
        "q": _mean([_ratio(a * d - b * c, a * d + b * c) for a, b, c, d in tables]),
        "correlation": _mean(
            [_ratio(a * d - b * c, ((a + b) * (c + d) * (a + c) * (b + d)) ** 0.5) for a, b, c, d in tables]
        ),
    }


def _table(one: Tensor, other: Tensor) -> tuple[float, float, float, float]:
    """How often both are right, the first alone, the second alone, and neither."""
    parts = (one * other, one * (1 - other), (1 - one) * other, (1 - one) * (1 - other))
    return tuple(float(part.sum()) for part in parts)  # type: ignore[return-value]


def _covariance(one: Tensor, other: Tensor) -> tuple[float, float]:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other), float(one.norm() * other.norm())


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
