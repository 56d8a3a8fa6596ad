"""Signs of straight strokes, drawn on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse_zoo.datasets._drawn import Drawn

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls

STROKES: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "fe": (((-3, -7), (-3, 7)), ((-3, 2), (4, -3)), ((-3, -2), (4, -7))),
    "ur": (((-4, 7), (-4, -7), (4, -2), (4, 7)),),
    "thurs": (((-3, -7), (-3, 7)), ((-3, -4), (4, 0), (-3, 4))),
    "oss": (((0, -7), (0, 7)), ((-4, -5), (4, -1)), ((-4, 0), (4, 4))),
    "reid": (((-4, 7), (-4, -7), (3, -4), (-4, 0), (4, 7)),),
    "kaun": (((-2, -7), (-2, 7)), ((-2, 1), (4, -6))),
    "hagall": (((0, -7), (0, 7)), ((-5, -4), (5, 4)), ((-5, 4), (5, -4))),
    "naud": (((0, -7), (0, 7)), ((-4, -3), (4, 2))),
    "is": (((0, -7), (0, 7)),),
    "ar": (((0, -7), (0, 7)), ((-4, 2), (4, -3))),
    "sol": (((-4, -7), (-4, 1), (4, -2), (4, 7)),),
    "tyr": (((0, 7), (0, -7)), ((-5, -2), (0, -7), (5, -2))),
    "bjarkan": (((-3, -7), (-3, 7)), ((-3, -7), (4, -4), (-3, 0), (4, 4), (-3, 7))),
    "madr": (((0, -7), (0, 7)), ((-5, -7), (0, 0), (5, -7))),
    "logr": (((-2, 7), (-2, -7), (4, -2)),),
    "yr": (((0, -7), (0, 7)), ((-5, 7), (0, 0), (5, 7))),
}
"""Paths by the name of the rune; a picture is 20 wide and high, with 0 in its middle."""


@dataclass(frozen=True)
class Signs(Drawn):
    """The 16 runes of the younger futhark: `shots` of each for training, `val` for val, the rest of 200 for the test.

    Some differ in one stroke. Drawn at random as `shapes` are, with strokes of random thickness, and as those in size,
    scale and seed.
    """

    classes: ClassVar[tuple[str, ...]] = tuple(STROKES)

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """All strokes of a sign have the same thickness."""
        from finefuse_zoo.datasets._canvas import canvas, together

        on, thick = canvas(self.side, rolls), rolls.whole(90, 170)
        return together(on.line([(100 * x, 100 * y) for x, y in path], thick) for path in STROKES[label])
