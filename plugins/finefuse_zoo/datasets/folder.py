"""Anybody's images, one directory for every class."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from finefuse import Classification, FinefuseError, Splits, Task
from finefuse_zoo.datasets._fields import Count, Share, one_of
from finefuse_zoo.datasets._files import digest_of_text
from finefuse_zoo.datasets._trees import Tree, tree_at

if TYPE_CHECKING:
    from finefuse_zoo.datasets._cache import Images


@dataclass(frozen=True)
class Folder:
    """Images in directories named after their classes: `train/cat/1.jpg`, `train/dog/2.png`.

    `train` and `test` are folders, or tar archives, or folders in them (`images.tar.xz/train`), which are not unpacked.
    Without `test` the share `test_share` of every class is cut off for it by seed. `val` images are cut from `train`:
    a share of every class, or a number of each. Of the rest, `shots` of every class or the share `fraction` of it are
    for training. For one seed val is the same whatever these two are, and more images are fewer plus more.

    Inputs (N, channels, size, size), uint8 from 0 to 255; an image is brought to `size` by its shorter side and its
    middle is kept. They are decoded once into a file that is mapped into memory, below `$FINEFUSE_CACHE`. Files that
    can't be read are left out, named in the log and in that folder's meta.json; it is an error only if a class has none
    left. Class numbers follow the sorted names of the directories.
    """

    train: Path
    test: Path | None = None
    size: Annotated[int, Ge(4)] = 64
    channels: Literal[1, 3] = 3
    val: Share | Count = 0.1
    shots: Count | None = None
    fraction: Share | None = None
    test_share: Share = 0.2

    def __post_init__(self) -> None:
        one_of(shots=self.shots, fraction=self.fraction)

    @property
    def task(self) -> Task:
        """As many outputs as there are class directories."""
        classes = tree_at(self.train).classes()
        return Classification(len(classes), "image", (self.channels, self.size, self.size))

    def fingerprint(self) -> str:
        """Digest of the images' names and contents, and the version of Pillow, which decodes them."""
        trees = [tree_at(where) for where in (self.train, self.test) if where is not None]
        return digest_of_text(version("pillow"), *(tree.digest() for tree in trees))

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        from finefuse_zoo.datasets._cut import Cut, splits_of

        tree, task = tree_at(self.train), self.task
        classes = tree.classes()
        images = self._images(tree, classes)
        official = None if self.test is None else self._images(tree_at(self.test), classes)
        cut = Cut(self.val, self.shots, self.fraction, self.test_share if official is None else None)
        return splits_of(task, classes, images, official, cut, seed)

    def _images(self, tree: Tree, classes: list[str]) -> Images:
        """The decoded images.

        Raises:
            FinefuseError: if there are none, or directories that are no classes.
        """
        from finefuse_zoo.datasets._cache import decoded
        from finefuse_zoo.datasets._pictures import items_of

        if unknown := set(tree.classes()) - set(classes):
            raise FinefuseError(f"{tree.where}: {', '.join(sorted(unknown))} are no classes of {self.train}")
        if not tree.names():
            raise FinefuseError(f"{tree.where}: there is no image in any of its directories")
        labels = {name: label for label, name in enumerate(classes)}
        content = digest_of_text(tree.digest(), *classes)
        shape = (self.channels, self.size, self.size)
        return decoded(content, lambda: items_of(tree.contents(), labels), shape)
