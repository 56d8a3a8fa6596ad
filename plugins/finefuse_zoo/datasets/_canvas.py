"""Figures drawn in whole numbers, so that every machine gives the same bits, at any size."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

UNIT = 1000
"""Half the width of a picture: without distortion a canvas reaches from -UNIT to UNIT, to the right and down."""
FINE = 4
"""How many points across and down are looked at in each pixel; for the UCI digits it was as many."""
SCALE = 2**12
"""Fixed point of distortions."""

Ink = NDArray[np.bool_]
Point = tuple[int, int]


class Rolls:
    """Random numbers for one drawing. Only `Random.random` is called, whose stream no version of Python changes."""

    def __init__(self, of: str) -> None:
        self._draw = random.Random(of).random

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self._draw()

    def whole(self, low: int, high: int) -> int:
        """One of `low`, ..., `high`."""
        return low + int((high - low + 1) * self._draw())


@dataclass(frozen=True)
class Canvas:
    """The points of a picture: their coordinates, (FINE * side, FINE * side) each, some thousands at most."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]

    def line(self, points: Sequence[Point], thick: int) -> Ink:
        """All that is within `thick` of a path through these points."""
        ink = self.disc(points[0], thick)
        for (x0, y0), (x1, y1) in pairwise(points):
            dx, dy, x, y = x1 - x0, y1 - y0, self.x - x0, self.y - y0
            length = dx * dx + dy * dy
            along, aside = x * dx + y * dy, x * dy - y * dx
            ink |= (along >= 0) & (along <= length) & (np.abs(aside) <= thick * isqrt(length))
            ink |= self.disc((x1, y1), thick)
        return ink

    def disc(self, middle: Point, radius: int) -> Ink:
        """The inside of a circle."""
        x, y = self.x - middle[0], self.y - middle[1]
        return x * x + y * y <= radius * radius

    def polygon(self, corners: Sequence[Point]) -> Ink:
        """The inside of a polygon, convex or not: where a ray to the right crosses an odd number of its sides."""
        ink = np.zeros(self.x.shape, bool)
        for one, other in pairwise([*corners, corners[0]]):
            (x0, y0), (x1, y1) = sorted((one, other), key=lambda corner: corner[1])
            left = (self.x - x0) * (y1 - y0) < (self.y - y0) * (x1 - x0)
            ink ^= (self.y >= y0) & (self.y < y1) & left
        return ink


def canvas(side: int, rolls: Rolls, turn: float = 14, zoom: tuple[float, float] = (0.8, 1.1)) -> Canvas:
    """A canvas turned by up to `turn` degrees either way, zoomed, sheared and shifted at random.

    A larger zoom is a larger figure. The same rolls distort a picture of another side in the same way.
    """
    count = FINE * side
    at = ((2 * np.arange(count) + 1 - count) * UNIT // count).astype(np.int32)
    x, y = at[None, :] - rolls.whole(-250, 250), at[:, None] - rolls.whole(-250, 250)
    half = rolls.between(-turn, turn) / 115  # half the angle, in radians; from its tangent no sine is needed
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    wide, high, shear = rolls.between(*zoom), rolls.between(*zoom), rolls.between(-0.15, 0.15)
    (a, b), (d, e) = (cos / wide, sin / wide + shear), (-sin / high, cos / high)
    a, b, d, e = (round(number * SCALE) for number in (a, b, d, e))
    return Canvas((a * x + b * y) // SCALE, (d * x + e * y) // SCALE)


def together(inks: Iterable[Ink]) -> Ink:
    """All of several figures."""
    return np.logical_or.reduce(list(inks))  # type: ignore[no-any-return]


def counted(ink: Ink) -> NDArray[np.uint8]:
    """Pixels (side, side) from 0 to FINE^2: how many of a pixel's points have ink."""
    side = len(ink) // FINE
    counts: NDArray[np.uint8] = ink.reshape(side, FINE, side, FINE).sum(axis=(1, 3), dtype=np.uint8)
    return counts
