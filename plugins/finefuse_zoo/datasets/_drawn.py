"""What the data sets that are drawn on the spot share: few labels for training, any size, the same bits everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le

from finefuse import Classification, Splits, Task
from finefuse.types import Description

if TYPE_CHECKING:
    from finefuse_zoo.datasets._canvas import Ink, Rolls

PER_CLASS = 200
"""Drawings of every class; the seed decides what each is for."""
SMALL = 8
"""The side of the digits, and of pictures that have their scale."""


@dataclass(frozen=True)
class Drawn:
    """Drawings of some classes: a subclass says which, and how to draw one."""

    shots: Annotated[int, Ge(1), Le(100)] = 10
    val: Annotated[int, Ge(1), Le(50)] = 20
    side: Annotated[int, Ge(SMALL), Le(128)] = SMALL
    classes: ClassVar[tuple[str, ...]]

    def draw(self, label: str, rolls: Rolls) -> Ink:
        """One drawing of a class, (4 side, 4 side)."""
        raise NotImplementedError

    @property
    def task(self) -> Task:
        """Which class it is."""
        return Classification(len(self.classes), "image", (1, self.side, self.side))

    def describe(self, _seed: int) -> Description:
        """Names of the classes."""
        return Description(outputs={"classes": list(self.classes)})

    def fingerprint(self) -> str:
        """The parameters; no file is read."""
        return f"{type(self).__name__.lower()}-shots{self.shots}-val{self.val}-side{self.side}"

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        import numpy as np
        import torch

        from finefuse import Data
        from finefuse_zoo.datasets._canvas import FINE, Rolls, counted
        from finefuse_zoo.datasets._pixels import as_splits, rows_by_class

        y = np.repeat(np.arange(len(self.classes)), PER_CLASS)
        of = [(label, f"{type(self).__name__}, {label}, {n}") for label in self.classes for n in range(PER_CLASS)]
        pixels = np.stack([counted(self.draw(label, Rolls(text))) for label, text in of])
        val, train, test = rows_by_class(y, self.val, self.shots, seed)
        if self.side == SMALL:
            return as_splits(self.task, pixels, y, train, val, test)
        x = torch.from_numpy((pixels[:, None] * (255 / FINE**2)).astype(np.uint8))
        parts = map(torch.from_numpy, (train, val, test))
        return Splits(self.task, *(Data(x[rows], torch.from_numpy(y)[rows]) for rows in parts))
