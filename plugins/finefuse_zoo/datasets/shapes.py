"""Geometrical shapes, drawn on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse_zoo.datasets._drawn import Drawn

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls


@dataclass(frozen=True)
class Shapes(Drawn):
    """Eight shapes, turned by up to 23 degrees: `shots` of each for training, `val` for val, the rest of 200 for test.

    Inputs (N, 1, 8, 8), float32, on the scale of `digits`; with another `side` the same drawings as bytes. They are
    always the same drawings, in whole numbers, so every machine has the same bits; the seed decides what each is for.
    """

    classes: ClassVar[tuple[str, ...]] = ("disc", "ring", "square", "frame", "triangle", "cross", "crescent", "heart")

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """A ring, a frame, a cross and a crescent have parts of random thickness."""
        from finefuse_zoo.datasets._canvas import canvas

        on, bar = canvas(self.side, rolls, turn=23, zoom=(0.75, 1.1)), rolls.whole(180, 300)
        if label == "heart":
            lobes = on.disc((-370, -280), 420) | on.disc((370, -280), 420)
            return lobes | on.polygon([(-740, -90), (740, -90), (0, 830)])
        if label == "triangle":
            return on.polygon([(0, -800), (780, 640), (-780, 640)])
        if label == "cross":
            return on.line([(-600, 0), (600, 0)], bar) | on.line([(0, -600), (0, 600)], bar)
        if label in ("square", "frame"):
            outer, hole = (
                on.polygon([(-half, -half), (half, -half), (half, half), (-half, half)]) for half in (680, 680 - bar)
            )
        else:
            outer = on.disc((0, 0), 760)
            hole = on.disc((bar + 150, 0), 660) if label == "crescent" else on.disc((0, 0), 760 - bar)
        return outer if label in ("disc", "square") else outer & ~hole
