"""Dice by their number of pips, drawn on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse_zoo.datasets._drawn import Drawn

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls

CORNERS = ((-1, -1), (1, 1), (1, -1), (-1, 1))
PIPS = {
    "one": ((0, 0),),
    "two": CORNERS[:2],
    "three": (*CORNERS[:2], (0, 0)),
    "four": CORNERS,
    "five": (*CORNERS, (0, 0)),
    "six": (*CORNERS, (-1, 0), (1, 0)),
}


@dataclass(frozen=True)
class Dice(Drawn):
    """One to six pips: `shots` of each number for training, `val` for val, the rest of 200 for the test.

    Pips differ in size and are not quite in their places; the whole is turned by up to 35 degrees. In size, scale and
    seed as `shapes`.
    """

    classes: ClassVar[tuple[str, ...]] = tuple(PIPS)

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """Pips without an outline."""
        from finefuse_zoo.datasets._canvas import canvas, together

        on, apart = canvas(self.side, rolls, turn=35), rolls.whole(450, 620)
        return together(
            on.disc((apart * x + rolls.whole(-120, 120), apart * y + rolls.whole(-120, 120)), rolls.whole(150, 240))
            for x, y in PIPS[label]
        )
