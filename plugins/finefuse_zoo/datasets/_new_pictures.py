"""Pictures that a model is to predict, read as those that it learned from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finefuse import FinefuseError
from finefuse_zoo.datasets._look import Look
from finefuse_zoo.datasets._pictures import attempt, opened
from finefuse_zoo.datasets._walk import is_hidden


def read_pictures(where: Path, shape: tuple[int, ...], look: Look) -> tuple[Sequence[str], Tensor]:
    """Paths and pixels (N, *shape), uint8, of a picture, or of all in a folder and below, hidden files aside.

    Raises:
        FinefuseError: if one of them can't be read.
    """
    files = sorted(_below(where)) if where.is_dir() else [where]
    pixels = np.empty((len(files), *shape), np.uint8)
    for row, file in enumerate(files):
        taken = attempt(partial(opened, file, 0), shape, look)
        if taken.pixels is None:
            raise FinefuseError(f"{file}: no picture that can be read: {' '.join(taken.why.split())}")
        pixels[row] = taken.pixels
    names = [file.relative_to(where).as_posix() if where.is_dir() else file.name for file in files]
    return names, torch.from_numpy(pixels)


def _below(folder: Path) -> Iterator[Path]:
    for top, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not is_hidden(name)]
        yield from (Path(top, name) for name in names if not is_hidden(name))
