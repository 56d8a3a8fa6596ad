"""One picture of any size and kind to pixels of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from finefuse import FinefuseError

Pixels = NDArray[np.uint8]
Item = tuple[str, Callable[[], tuple[Image.Image, int]]]
"""A picture's name, and what gives the picture and its class number."""
MODES = {1: "L", 3: "RGB"}


def pixels_of(image: Image.Image, shape: tuple[int, ...]) -> Pixels:
    """(C, H, W) from 0 to 255, upright; another size becomes this one by its shorter side, and its middle is kept.

    Bilinear with antialiasing. JPEGs more than twice as large are decoded at a fraction of their size, as Pillow's
    thumbnails are. Colours become grey by luminance (ITU-R 601), grey becomes three equal channels, alpha is dropped.
    """
    channels, height, width = shape
    image.draft(None, (2 * max(height, width), 2 * max(height, width)))
    ImageOps.exif_transpose(image, in_place=True)
    image = _of_mode(image, MODES[channels])
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels: Pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _of_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits or more, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def attempt(read: Callable[[], tuple[Image.Image, int]], shape: tuple[int, ...]) -> tuple[Pixels | None, int, str]:
    """Pixels and class of what `read` gives; or None, -1 and the reason, if that is no picture that can be read.

    Raises:
        FinefuseError: if there is no such file.
    """
    try:
        image, label = read()
        with image:
            return pixels_of(image, shape), label, ""
    except MemoryError:
        raise
    except FileNotFoundError as error:  # not broken, but unpacked by half, or taken away while it was read
        raise FinefuseError(f"{error.filename} is missing; if it comes from an archive, unpack that again") from error
    except Exception as error:  # Pillow raises whatever a broken file makes it stumble over
        return None, -1, f"{type(error).__name__}: {error}"


def items_of(contents: Iterable[tuple[str, Path | bytes]], labels: Mapping[str, int]) -> Iterator[Item]:
    """Named pictures `class/...` with what opens them, and the number of their class."""
    for name, content in contents:
        yield name, partial(_open, content, labels[name.partition("/")[0]])


def _open(content: Path | bytes, label: int) -> tuple[Image.Image, int]:
    return Image.open(BytesIO(content if isinstance(content, bytes) else content.read_bytes())), label
