"""Images that a table lists, with their labels and splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Len

from finefuse import Classification, FinefuseError, Splits, Task
from finefuse.files import digest_of_text, digests
from finefuse.types import Description
from finefuse_zoo.datasets._fields import Count, Share, one_of
from finefuse_zoo.datasets._look import Look, place_of, remarks_of
from finefuse_zoo.datasets._published import Published, rows_of
from finefuse_zoo.datasets._table import Format, Table, read_table, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from finefuse_zoo.datasets._pictures import Item


@dataclass(frozen=True)
class Manifest:
    """Images listed in a table, one row each: `path`, `label` and `split` are names of its columns.

    Paths start from `root`, or from the table's folder. The column `split` has train, val or test in it (training,
    valid, validation, dev and testing too); a row without any of them is left out. Where no row is for val, `val` is
    cut from the training images as in `folder`, and where none is for the test, `test_share` is.

    Published splits are averaged as seeds are: with `split = ["split1", "split2"]` seed 0 has the first and seed 1 the
    second, around; with `fold`, a column of folds in place of `split`, seed i is tested on the i-th fold.

    Images are decoded as in `folder`: `size`, `channels`, `white` and `ground` are as there, `shots` and `fraction`
    too. Class numbers follow the labels of all rows sorted as text. A path that is listed twice is an error.
    """

    file: Path
    root: Path | None = None
    path: str = "path"
    label: str = "label"
    split: str | Annotated[tuple[str, ...], Len(1)] = "split"
    fold: str | None = None
    separator: Annotated[str, Len(1, 1)] | None = None
    size: Annotated[int, Ge(4)] = 64
    channels: Literal[1, 3] = 3
    val: Share | Count = 0.1
    shots: Count | None = None
    fraction: Share | None = None
    test_share: Share = 0.2
    white: Annotated[float, Gt(0)] | None = None
    ground: Literal["white", "black"] = "white"

    def __post_init__(self) -> None:
        one_of(shots=self.shots, fraction=self.fraction)
        one_of(split=None if self.split == "split" else self.split, fold=self.fold)

    @property
    def task(self) -> Task:
        """As many outputs as there are labels."""
        return Classification(len(self._table().classes(self.label)), "image", self._shape)

    @property
    def number_of_folds(self) -> int:
        """How many splits the table has."""
        return self._published.count(self._table())

    def describe(self, _seed: int) -> Description:
        """Names of the classes."""
        return Description(outputs={"classes": self._table().classes(self.label)})

    def fingerprint(self) -> str:
        """Digest of the table, of the images' contents, and the version of Pillow, which decodes them."""
        table = digests(self.file.parent, [self.file.name], about=self.file.name)[self.file.name]
        return digest_of_text(version("pillow"), table, *self._digests().values())

    def splits(self, seed: int) -> Splits:
        """Train, val and test as the table says."""
        from finefuse_zoo.datasets._cache import decoded
        from finefuse_zoo.datasets._cut import Cut, splits_at

        table, task = self._table(), self.task
        classes, parts = table.classes(self.label), self._published.parts(table, seed)
        cut = Cut(self.val, self.shots, self.fraction, self.test_share)
        try:
            images = decoded(self._content(), self._items, self._shape, self._look)
            rows = rows_of(parts, images.y.numpy(), classes, cut, seed)
        except FinefuseError as error:
            raise FinefuseError(f"{self.file}: {error}") from error
        return splits_at(task, images, rows)

    def read_inputs(self, where: Path, _seed: int) -> tuple[Sequence[str], Tensor]:
        """Images, from a file or a folder."""
        from finefuse_zoo.datasets._new_pictures import read_pictures

        return read_pictures(where, self._shape, self._look)

    def remarks(self) -> list[str]:
        """Rows that are in no split, and what is wrong within images, once they are decoded."""
        place = place_of(self._content(), self._shape, self._look)
        return [*self._published.remarks(self._table()), *remarks_of(place, self.file, self._look)]

    @property
    def _look(self) -> Look:
        return Look(self.white, self.ground)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    @property
    def _published(self) -> Published:
        return Published((self.split,) if isinstance(self.split, str) else self.split, self.fold)

    @property
    def _root(self) -> Path:
        return self.file.parent if self.root is None else self.root

    def _table(self) -> Table:
        return read_table(self.file, Format(self.separator))

    def _names(self) -> list[str]:
        """The images' paths below the root, in the order of the table.

        Raises:
            FinefuseError: if there is no such file, or one is listed twice, with its line.
        """
        table, lines = self._table(), dict[str, int]()
        for cell, line in zip(table.column(self.path), table.lines, strict=True):
            name = os.path.normpath(os.path.relpath(cell.strip(), self._root) if cell.startswith("/") else cell.strip())
            if name in lines:
                raise FinefuseError(f"{self.file}, line {line}: {short(cell)} is in line {lines[name]} already")
            if not cell.strip() or not _is_file(self._root / name):
                raise FinefuseError(f"{self.file}, line {line}: there is no file {short(cell)} in {self._root}")
            lines[name] = line
        return list(lines)

    def _digests(self) -> dict[str, str]:
        return digests(self._root, self._names())

    def _content(self) -> str:
        """Stands for the images in their order, and their numbers."""
        table, known = self._table(), self._digests()
        labels = map(str, table.class_numbers(self.label, table.classes(self.label)))
        return digest_of_text(*known, *known.values(), *labels)

    def _items(self) -> Iterator[Item]:
        from finefuse_zoo.datasets._pictures import opened

        table = self._table()
        labels = table.class_numbers(self.label, table.classes(self.label))
        for name, label in zip(self._names(), labels, strict=True):
            yield name, partial(opened, self._root / name, label)


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # its name is too long
        return False
