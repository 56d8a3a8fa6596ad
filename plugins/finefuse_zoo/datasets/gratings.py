"""Stripes by direction and width, drawn on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse_zoo.datasets._drawn import Drawn

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls

ACROSS = {"flat": (0, 10), "falling": (-7, 7), "upright": (10, 0), "rising": (7, 7)}
"""Tenths of a step across the stripes, to the right and down."""
PERIODS = {"wide": (700, 950), "fine": (480, 640)}
"""From one stripe to the next; a picture is 2000 wide."""


@dataclass(frozen=True)
class Gratings(Drawn):
    """Stripes, wide or fine, in four directions: `shots` of each for training, `val` for val, the rest of 200 for test.

    Of random thickness, from a random place on, and distorted at random; in size, scale and seed as `shapes`.
    """

    classes: ClassVar[tuple[str, ...]] = tuple(f"{width}, {way}" for width in PERIODS for way in ACROSS)

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """A third to a half is ink."""
        from finefuse_zoo.datasets._canvas import canvas

        width, way = label.split(", ")
        (right, down), period = ACROSS[way], rolls.whole(*PERIODS[width])
        on = canvas(self.side, rolls, zoom=(0.95, 1.05))
        across = (right * on.x + down * on.y) // 10 + rolls.whole(0, period)
        return across % period < period * rolls.whole(33, 50) // 100
