"""One picture of any size and kind to pixels of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from finefuse import FinefuseError
from finefuse_zoo.datasets._look import Look

Pixels = NDArray[np.uint8]
Item = tuple[str, Callable[[], tuple[Image.Image, int]]]
"""A picture's name, and what gives the picture and its class number."""
MODES = {1: "L", 3: "RGB"}
GROUNDS = {"white": (255, 255, 255, 255), "black": (0, 0, 0, 255)}
SIXTEEN = 65535
TIFF_BITS = 258
"""The tag of a TIFF that says how many bits a value has."""


@dataclass(frozen=True)
class Taken:
    """What came of a picture: pixels and class; or None, -1 and the reason why not.

    `frames` and `transparent` say what of it is not in the pixels. `peak` is the largest value of a picture of 16 bits
    that doesn't say what is white, else -1.
    """

    pixels: Pixels | None
    label: int = -1
    why: str = ""
    frames: bool = False
    transparent: bool = False
    peak: int = -1


def take(image: Image.Image, label: int, shape: tuple[int, ...], look: Look) -> Taken:
    """(C, H, W) from 0 to 255, upright; another size becomes this one by its shorter side, and its middle is kept.

    Bilinear with antialiasing. JPEGs more than twice as large are decoded at a fraction of their size, as Pillow's
    thumbnails are. Colours become grey by luminance (ITU-R 601), grey becomes three equal channels. Of several frames
    or pages the first is taken. Transparent parts show `look.ground`. Values of more than 8 bits are divided by what is
    white: by `look.white`, else by the most that so many bits can be.

    Raises:
        ValueError: if nothing says what is white.
    """
    channels, height, width = shape
    frames = getattr(image, "n_frames", 1) > 1  # Pillow's images have it if their format has frames
    image.draft(None, (2 * max(height, width), 2 * max(height, width)))
    ImageOps.exif_transpose(image, in_place=True)
    transparent, peak = False, -1
    if image.mode.startswith("I") or image.mode == "F":
        image, peak = _of_eight_bits(image, look)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        if transparent := lowest != 255:
            image = Image.alpha_composite(Image.new("RGBA", image.size, GROUNDS[look.ground]), image)
    image = image if image.mode == MODES[channels] else image.convert(MODES[channels])
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels: Pixels = np.asarray(image, dtype=np.uint8)
    pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    return Taken(pixels, label, "", frames, transparent, peak)


def _of_eight_bits(image: Image.Image, look: Look) -> tuple[Image.Image, int]:
    """A picture of one channel of numbers as grey of 8 bits; and its largest value, if what is white is a guess."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("some of its values are not finite")
    said = look.white or _white_of(image)
    if said is None and image.mode in ("I", "F") and image.format not in ("PNG", "PPM"):
        kind = "floats" if image.mode == "F" else "whole numbers of 32 bits"
        raise ValueError(f"its values are {kind}, and nothing says which value is white: give it as `white`")
    if said is None:
        return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)), int(values.max(initial=0))
    return Image.fromarray((values.astype(np.float64) * 255 / said).round().clip(0, 255).astype(np.uint8)), -1


def _white_of(image: Image.Image) -> int | None:
    """What a TIFF of less than 16 bits a value says; PGMs are scaled to 16 bits by Pillow."""
    if image.format == "PPM":
        return SIXTEEN
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits = tags.get(TIFF_BITS, (16,))[0]
    return 2**bits - 1 if image.mode.startswith("I;16") and bits < 16 else None


def attempt(read: Callable[[], tuple[Image.Image, int]], shape: tuple[int, ...], look: Look) -> Taken:
    """Pixels and class of what `read` gives; or the reason, if that is no picture that can be read.

    Raises:
        FinefuseError: if there is no such file.
    """
    try:
        image, label = read()
        with image:
            return take(image, label, shape, look)
    except MemoryError:
        raise
    except FileNotFoundError as error:  # not broken, but unpacked by half, or taken away while it was read
        raise FinefuseError(f"{error.filename} is missing; if it comes from an archive, unpack that again") from error
    except Exception as error:  # Pillow raises whatever a broken file makes it stumble over
        return Taken(None, why=f"{type(error).__name__}: {error}")


def items_of(contents: Iterable[tuple[str, Path | bytes]], labels: Mapping[str, int]) -> Iterator[Item]:
    """Named pictures `class/...` with what opens them, and the number of their class."""
    for name, content in contents:
        yield name, partial(opened, content, labels[normalize("NFC", name.partition("/")[0])])


def opened(content: Path | bytes, label: int) -> tuple[Image.Image, int]:
    """The picture in a file, or in its bytes, with its class number."""
    return Image.open(BytesIO(content if isinstance(content, bytes) else content.read_bytes())), label
