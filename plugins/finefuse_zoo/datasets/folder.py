"""Images in folders, one directory for every class."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from finefuse import Classification, FinefuseError, Splits, Task
from finefuse.files import digest_of_text
from finefuse.types import Description
from finefuse_zoo.datasets._fields import Count, Share, all_different, one_of
from finefuse_zoo.datasets._look import Look, place_of, remarks_of, some
from finefuse_zoo.datasets._trees import Tree, tree_at
from finefuse_zoo.datasets._walk import class_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from finefuse_zoo.datasets._cache import Images


@dataclass(frozen=True)
class Folder:
    """Images in directories named after their classes: `train/cat/1.jpg`, `train/dog/2.png`.

    `train` and `test` are folders, or tar archives, or folders in them (`images.tar.xz/train`), which are not unpacked.
    Without `test` the share `test_share` of every class is cut off for it by seed. `val` is such a folder too, or says
    how many images are cut from `train`: a share of every class, or a number of each. Of the rest, `shots` of every
    class or the share `fraction` of it are for training. For one seed val is the same whatever these two are, and more
    images are fewer plus more.

    Inputs (N, channels, size, size), uint8 from 0 to 255; an image is brought to `size` by its shorter side (bilinear,
    antialiased) and its middle is kept. `ground` shows through transparent parts. `white` is the value that is white in
    images of 16 bits, if it isn't 65535, and in those of 32 bits and floats, which are left out without it. They are
    decoded once into a file that is mapped into memory, below `$FINEFUSE_CACHE`. What is left out or read in part is
    counted and named in the log and on the board; it is an error only if a class has no image left. Class numbers
    follow the sorted names of the directories.
    """

    train: Path
    test: Path | None = None
    size: Annotated[int, Ge(4)] = 64
    channels: Literal[1, 3] = 3
    val: Share | Count | Path = 0.1
    shots: Count | None = None
    fraction: Share | None = None
    test_share: Share = 0.2
    white: Annotated[float, Gt(0)] | None = None
    ground: Literal["white", "black"] = "white"

    def __post_init__(self) -> None:
        one_of(shots=self.shots, fraction=self.fraction)
        all_different(train=self.train, val=self._val, test=self.test)

    @property
    def task(self) -> Task:
        """As many outputs as there are class directories."""
        classes = tree_at(self.train).classes()
        return Classification(len(classes), "image", (self.channels, self.size, self.size))

    def describe(self, _seed: int) -> Description:
        """Names of the classes."""
        return Description(outputs={"classes": tree_at(self.train).classes()})

    def fingerprint(self) -> str:
        """Digest of the images' names and contents, and the version of Pillow, which decodes them."""
        return digest_of_text(version("pillow"), *(tree.digest() for tree in self._trees()))

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        from finefuse_zoo.datasets._cut import Cut, cut_splits

        tree, task = tree_at(self.train), self.task
        classes = tree.classes()
        images = self._images(tree, classes)
        official = None if self.test is None else self._images(tree_at(self.test), classes)
        own_val = None if self._val is None else self._images(tree_at(self._val), classes)
        val = 0 if isinstance(self.val, Path) else self.val
        cut = Cut(val, self.shots, self.fraction, self.test_share if official is None else None)
        return cut_splits(task, classes, images, official, cut, seed, own_val)

    def read_inputs(self, where: Path, _seed: int) -> tuple[Sequence[str], Tensor]:
        """Images, from a file or a folder."""
        from finefuse_zoo.datasets._new_pictures import read_pictures

        return read_pictures(where, self._shape, self._look)

    def remarks(self) -> list[str]:
        """What is left out, or read in part only; what is wrong within images is known once they are decoded."""
        train = tree_at(self.train)
        classes, found = train.classes(), []
        for tree in self._trees():
            found += tree.listing.remarks(tree.where)
            has = {class_of(name) for name in tree.listing.images}
            if tree.where != train.where and (without := [name for name in classes if name not in has]):
                found.append(f"{tree.where}: there is no image of {some(without)}")
            found += remarks_of(self._place(tree, classes), tree.where, self._look)
        return found

    @property
    def _val(self) -> Path | None:
        """Where images for val are, if they have a place of their own."""
        return self.val if isinstance(self.val, Path) else None

    def _trees(self) -> list[Tree]:
        return [tree_at(where) for where in (self.train, self._val, self.test) if where is not None]

    @property
    def _look(self) -> Look:
        return Look(self.white, self.ground)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    def _place(self, tree: Tree, classes: list[str]) -> Path:
        return place_of(_content(tree, classes), self._shape, self._look)

    def _images(self, tree: Tree, classes: list[str]) -> Images:
        """The decoded images.

        Raises:
            FinefuseError: if there are none, or directories that are no classes.
        """
        from finefuse_zoo.datasets._cache import decoded
        from finefuse_zoo.datasets._pictures import items_of

        if unknown := set(tree.classes()) - set(classes):
            raise FinefuseError(f"{tree.where}: {', '.join(sorted(unknown))} are not classes of {self.train}")
        if not tree.listing.images:
            raise FinefuseError(f"{tree.where}: there is no image in any of its directories")
        labels = {name: label for label, name in enumerate(classes)}
        try:
            return decoded(_content(tree, classes), lambda: items_of(tree.contents(), labels), self._shape, self._look)
        except FinefuseError as error:
            raise FinefuseError(f"{tree.where}: {error}") from error


def _content(tree: Tree, classes: list[str]) -> str:
    """Stands for a tree's images and their numbers."""
    return digest_of_text(tree.digest(), *classes)
