"""The classification data sets of torchvision, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from finefuse import Classification, FinefuseError, Splits, Task
from finefuse.files import cache_folder, digest_of_text, digests, files_in, only_one
from finefuse.types import Description
from finefuse_zoo.datasets._fields import Count, Share, one_of
from finefuse_zoo.datasets._look import AS_USUAL, images_in, place_of, remarks_of
from finefuse_zoo.datasets._official import OFFICIAL, Official

if TYPE_CHECKING:
    from PIL.Image import Image

    from finefuse_zoo.datasets._cache import Images
    from finefuse_zoo.datasets._pictures import Item

Name = Literal[
    "CIFAR10",
    "CIFAR100",
    "FashionMNIST",
    "MNIST",
    "SVHN",
    "STL10",
    "Flowers102",
    "OxfordIIITPet",
    "DTD",
    "EuroSAT",
    "Food101",
    "FGVCAircraft",
]
TEST_SHARE = 0.2
"""Share of every class for the test, where there is no official test set."""


@dataclass(frozen=True)
class Torchvision:
    """A data set of `torchvision.datasets`, with its official test images, downloaded and checked by torchvision.

    It lies in `root`, or in the folder `torchvision` of the cache; files that are there already are not downloaded.
    Official validation images join the training images, and `val` is cut from both: a share of every class, or a number
    of each. Of the rest, `shots` of every class or the share `fraction` of it are for training. For one seed val is the
    same whatever these two are, and more images are fewer plus more. EuroSAT has no official test images: a fifth of
    every class is cut off by seed. Left out are the extra images of SVHN and the unlabelled ones of STL10; classes of
    FGVCAircraft are its 100 variants.

    Inputs (N, channels, side, side), uint8 from 0 to 255, decoded once into a file that is mapped into memory. `size`
    is needed where images differ in size: they are brought to it by their shorter side and their middle is kept.
    """

    name: Name
    root: Path | None = None
    size: Annotated[int, Ge(4)] | None = None
    download: bool = True
    val: Share | Count = 0.1
    shots: Count | None = None
    fraction: Share | None = None

    def __post_init__(self) -> None:
        one_of(shots=self.shots, fraction=self.fraction)
        if self.size is None and OFFICIAL[self.name].shape is None:
            raise ValueError(f"{self.name} needs a value for 'size', because its images differ in size")

    @property
    def task(self) -> Task:
        """Known from the articles."""
        channels, *sides = self._official.shape or (3, 0, 0)
        sides = [self.size, self.size] if self.size else sides
        return Classification(self._official.classes, "image", (channels, *sides))

    def fingerprint(self) -> str:
        """The official checksums; of files that are there and are others, their content. And the version of Pillow."""
        return digest_of_text(version("pillow"), self.name, *self._content()[0])

    def describe(self, _seed: int) -> Description:
        """Names of the classes."""
        official = self._official
        if not official.named:
            return Description(outputs={"classes": [str(number) for number in range(official.classes)]})
        return Description(outputs={"classes": list(self._load(official.train[:1])[0].classes)})

    def remarks(self) -> list[str]:
        """What is left out, or read in part only; what is wrong within images is known once they are decoded."""
        official, content = self._official, self._content()[0]
        told = [f"{self.name}: {official.left_out} are left out"] if official.left_out else []
        for part, count in zip(("train", "test"), official.images, strict=True):
            place = place_of(digest_of_text(self.name, part, *content), self.task.input_shape, AS_USUAL)
            if (found := images_in(place)) not in (None, count):
                told.append(f"{self.name}: has {found:,} {part} images, where the official one has {count:,}")
            told += remarks_of(place, f"{self.name}, {part}", AS_USUAL)
        return told

    def splits(self, seed: int) -> Splits:
        """Official test images; train and val, drawn class by class."""
        from finefuse_zoo.datasets._cut import Cut, cut_splits

        official = self._official
        images = self._images("train", official.train, official.images[0])
        test = self._images("test", official.test, official.images[1]) if official.test else None
        cut = Cut(self.val, self.shots, self.fraction, None if test else TEST_SHARE)
        classes = [f"{self.name} {number}" for number in range(official.classes)]
        return cut_splits(self.task, classes, images, test, cut, seed)

    @property
    def _official(self) -> Official:
        return OFFICIAL[self.name]

    @property
    def _root(self) -> Path:
        return self.root or cache_folder() / "torchvision"

    def _content(self) -> tuple[Sequence[str], bool]:
        """What stands for the content, and whether it is the official one, or will be once it is downloaded."""
        expected = [file.md5 for file in self._official.files]
        names = [file.path for file in self._official.files]
        unpacked = self._root / self._official.folder
        if all((self._root / name).is_file() for name in names):
            found = digests(self._root, names, "md5", self.name)
            md5 = [found[name] if known else "" for name, known in zip(names, expected, strict=True)]
            return md5, md5 == expected
        if self._official.folder and unpacked.is_dir() and (inside := files_in(unpacked)):
            known = digests(unpacked, inside, about=self.name)
            return [*known.keys(), *known.values()], False
        return expected, True

    def _images(self, part: str, splits: Sequence[dict[str, Any]], count: int) -> Images:
        from finefuse_zoo.datasets._cache import decoded

        content, official = self._content()

        def items() -> Iterator[Item]:
            parts = self._load(splits)
            found = sum(map(len, parts))
            if official and found != count:
                where = self._root / self._official.folder
                raise FinefuseError(f"{where}: has {found} of {count} {part} images; delete it and run again")
            return _items(part, parts)

        return decoded(digest_of_text(self.name, part, *content), items, self.task.input_shape)

    def _load(self, splits: Sequence[dict[str, Any]]) -> list[Any]:
        """What torchvision makes of each, downloaded if they are not there, by one process at a time."""
        from torchvision import datasets

        make = getattr(datasets, self.name)
        with only_one(cache_folder() / "locks" / digest_of_text(str(self._root.resolve()), self.name)):
            try:
                return [make(str(self._root), download=self.download, **split) for split in splits]
            except (OSError, RuntimeError) as error:
                raise FinefuseError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        reason = " ".join(str(error).split())
        for file in self._official.files:
            path = self._root / file.path
            if not path.is_file():
                said = f"can't be downloaded ({reason})" if self.download else "download = false was given"
                return f"data set {self.name}: {path} is missing and {said}; put the file there, from {file.url}"
        return f"data set {self.name}: the files in {self._root} can't be used: {reason}"


def _items(part: str, parts: Iterable[Any]) -> Iterator[Item]:
    def read(dataset: Any, row: int) -> tuple[Image, int]:
        image, label = dataset[row]
        return image, int(label)

    for dataset in parts:
        for row in range(len(dataset)):
            yield f"{part}[{row}]", partial(read, dataset, row)
