"""Letters and signs at 8x8, drawn on the spot: what the backbones for `digits` are pretrained on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

from annotated_types import Ge

from finefuse import Classification, Splits
from finefuse.types import Description

CHARACTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ#%&+?"
"""No digits, and none of o, O, l and I, which look like digits."""


@dataclass(frozen=True)
class Letters:
    """53 letters and signs in Pillow's built-in font, distorted at random and reduced as the UCI digits were.

    Drawn at 32x32 with random size, stroke, shear, scale, shift and rotation, thresholded, and counted in blocks of
    4x4: 8x8 values from 0 to 16 (https://doi.org/10.24432/C50P49). The drawings are always the same; the seed decides
    which 5 % of each class are for validation and which 10 % for the test. Inputs (N, 1, 8, 8), float32, on the scale
    of `digits`.
    """

    per_class: Annotated[int, Ge(20)] = 200
    task = Classification(outputs=len(CHARACTERS), modality="image", input_shape=(1, 8, 8))

    def fingerprint(self) -> str:
        """The parameters, and the version of Pillow, which brings the font and draws it."""
        return f"letters-{self.per_class}-pillow-{version('pillow')}"

    def describe(self, _seed: int) -> Description:
        """Names of the classes."""
        return Description(outputs={"classes": list(CHARACTERS)})

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        import numpy as np

        from finefuse_zoo.datasets._drawing import draw
        from finefuse_zoo.datasets._pixels import as_splits, rows_by_class

        y = np.repeat(np.arange(len(CHARACTERS)), self.per_class)
        val, test, train = rows_by_class(y, self.per_class // 20, self.per_class // 10, seed)
        return as_splits(self.task, draw(CHARACTERS, self.per_class), y, train, val, test)
