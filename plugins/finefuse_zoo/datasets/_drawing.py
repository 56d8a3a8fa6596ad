"""Characters in Pillow's built-in font, distorted at random and reduced as the UCI digits were."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 32


def draw(characters: str, per_class: int) -> NDArray[np.int64]:
    """Pixels (characters * per_class, 8, 8) from 0 to 16, ordered by character.

    A drawing depends only on its character and its number: a smaller set is the beginning of a larger one.
    """
    fonts = [ImageFont.load_default(size) for size in range(30, 39)]
    drawings = []
    for character in characters:
        rng = random.Random(character)
        drawings += [np.asarray(_distorted(character, fonts, rng)) for _ in range(per_class)]
    blocks = (np.stack(drawings) > 127).reshape(-1, SIDE // 4, 4, SIDE // 4, 4)
    counts: NDArray[np.int64] = blocks.sum(axis=(2, 4), dtype=np.int64)
    return counts


def _distorted(character: str, fonts: list[Any], rng: random.Random) -> Image.Image:
    """One character, white on black. Only `rng.random()` is called, whose stream no version of Python changes."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * rng.random()

    font, stroke = fonts[int(between(0, len(fonts)))], int(between(0, 3))
    left, top, right, bottom = font.getbbox(character, stroke_width=stroke)
    corner = (SIDE - left - right) / 2, (SIDE - top - bottom) / 2
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text(corner, character, 255, font, stroke_width=stroke)
    angle, shear = between(-0.25, 0.25), between(-0.3, 0.3)
    wide, high = between(0.8, 1.1), between(0.8, 1.1)
    # Pillow wants to know where each pixel comes from: the way back from scale, shear and rotation about the middle.
    a, b = math.cos(angle) * wide, math.sin(angle) * wide + shear
    d, e = -math.sin(angle) * high, math.cos(angle) * high
    x, y = SIDE / 2 + between(-2, 2), SIDE / 2 + between(-2, 2)
    matrix = (a, b, SIDE / 2 - a * x - b * y, d, e, SIDE / 2 - d * x - e * y)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
