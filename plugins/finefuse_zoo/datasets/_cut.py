"""Splits by seed, class by class; training and validation examples are never test examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from finefuse import Data, FinefuseError, Splits, Task
from finefuse_zoo.datasets._cache import Images, chosen
from finefuse_zoo.datasets._pixels import rows_by_class

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Cut:
    """How many examples of every class each part gets: a share of them, or a number; None for none.

    `test` is cut first, then `val`; of the rest `shots` or `fraction` are for training, or all. So for one seed the
    test and validation examples don't depend on the training set, and larger training sets contain smaller ones.
    """

    val: float | int
    shots: int | None = None
    fraction: float | None = None
    test: float | None = None
    found: str = "class {name!r} has {count} images that can be read"
    """How an error names the examples there are."""

    def rows(self, y: NDArray[np.int64], classes: Sequence[str], seed: int) -> tuple[Rows, Rows, Rows]:
        """Sorted row numbers for train, val and test; rows with y = -1 are left out.

        Raises:
            FinefuseError: if a class has too few images.
        """
        good = np.flatnonzero(y >= 0)
        _, order, _ = rows_by_class(y[good], 0, len(good), seed)
        drawn = good[order]
        cuts = [self._cut_class(drawn[y[drawn] == label], name) for label, name in enumerate(classes)]
        train, val, test = (np.sort(np.concatenate(part)) for part in zip(*cuts, strict=True))
        return train, val, test

    def _cut_class(self, rows: Rows, name: str) -> tuple[Rows, Rows, Rows]:
        n_test = _number(self.test, len(rows)) if self.test else 0
        n_val = _number(self.val, len(rows) - n_test)
        test, val, rest = np.split(rows, [n_test, n_test + n_val])
        wanted = self.shots or (_number(self.fraction, len(rest)) if self.fraction else max(1, len(rest)))
        if wanted > len(rest):
            parts = {"the test": n_test, "validation": n_val, "training": wanted}
            told = ", ".join(f"{count} for {part}" for part, count in parts.items() if count)
            raise FinefuseError(f"{self.found.format(name=name, count=len(rows))}, and {told} were asked for")
        return rest[:wanted], val, test


def cut_splits(
    task: Task,
    classes: Sequence[str],
    images: Images,
    official: Images | None,
    cut: Cut,
    seed: int,
    own_val: Images | None = None,
) -> Splits:
    """The splits of images and of the official test images; without these, `cut.test` says what share becomes test.

    Without images of one's own for val they are cut as well.
    """
    drawn = splits_at(task, images, cut.rows(images.y.numpy(), classes, seed))
    val = drawn.val if own_val is None else _all_of(own_val)
    return Splits(task, drawn.train, val, drawn.test if official is None else _all_of(official))


def splits_at(task: Task, images: Images, rows: Sequence[Rows]) -> Splits:
    """The splits with these rows for train, val and test."""
    return Splits(task, *(_part(images, part) for part in rows))


def _all_of(images: Images) -> Data:
    return _part(images, np.flatnonzero(images.y.numpy() >= 0))


def _part(images: Images, rows: Rows) -> Data:
    index = torch.from_numpy(rows)
    return Data(chosen(images, index), images.y[index])


def _number(share: float | int, n: int) -> int:
    return share if isinstance(share, int) else max(1, round(share * n))
