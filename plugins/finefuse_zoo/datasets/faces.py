"""Faces by expression, drawn on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse_zoo.datasets._drawn import Drawn

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls

MOUTHS = {
    "smiling": ((-500, 300), (-200, 600), (200, 600), (500, 300)),
    "sad": ((-500, 650), (-200, 350), (200, 350), (500, 650)),
    "calm": ((-400, 480), (400, 480)),
    "surprised": ((0, 400), (0, 600)),
}
EYES = ("awake", "winking", "asleep")


@dataclass(frozen=True)
class Faces(Drawn):
    """Four mouths with three pairs of eyes: `shots` of each for training, `val` for val, the rest of 200 for the test.

    Distorted at random; in size, scale and seed as `shapes`.
    """

    classes: ClassVar[tuple[str, ...]] = tuple(f"{mouth}, {eyes}" for mouth in MOUTHS for eyes in EYES)

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """Without an outline; who winks does so with the left eye of the picture."""
        from finefuse_zoo.datasets._canvas import canvas

        mouth, eyes = label.split(", ")
        on, thick, apart = canvas(self.side, rolls, turn=9), rolls.whole(90, 130), rolls.whole(350, 500)
        ink = on.line(MOUTHS[mouth], 2 * thick if mouth == "surprised" else thick)
        for x, shut in ((-apart, eyes != "awake"), (apart, eyes == "asleep")):
            path = [(x - 200, -400), (x + 200, -400)] if shut else [(x, -580), (x, -340)]
            ink |= on.line(path, 80 if shut else 150)
        return ink
