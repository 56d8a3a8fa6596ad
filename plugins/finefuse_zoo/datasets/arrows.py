"""Arrows by direction, drawn on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse_zoo.datasets._drawn import Drawn

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls

WAYS = {
    "north": (0, -7),
    "north-east": (5, -5),
    "east": (7, 0),
    "south-east": (5, 5),
    "south": (0, 7),
    "south-west": (-5, 5),
    "west": (-7, 0),
    "north-west": (-5, -5),
}
"""To the right and down, from the middle of a picture that is 20 wide."""


@dataclass(frozen=True)
class Arrows(Drawn):
    """Arrows in eight directions: `shots` of each for training, `val` for val, the rest of 200 for the test.

    With shafts and heads of random size, distorted at random; in size, scale and seed as `shapes`.
    """

    classes: ClassVar[tuple[str, ...]] = tuple(WAYS)

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """A shaft through the middle, and a head of two lines."""
        from finefuse_zoo.datasets._canvas import canvas

        on, thick, (x, y) = canvas(self.side, rolls), rolls.whole(90, 150), WAYS[label]
        head, tail, tip = rolls.whole(35, 60), rolls.whole(60, 100), (100 * x, 100 * y)
        barbs = [(tip[0] - head * (x + turn * y), tip[1] - head * (y - turn * x)) for turn in (-1, 1)]
        return on.line([(-tail * x, -tail * y), tip], thick) | on.line([barbs[0], tip, barbs[1]], thick)
