"""Image classification data sets in the format of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from finefuse import Classification, FinefuseError, Splits, Task
from finefuse.files import digest_of_text, digests, files_in
from finefuse.types import Description
from finefuse_zoo._hugging_face import json_of
from finefuse_zoo.datasets._fields import Count, Share, one_of
from finefuse_zoo.datasets._look import AS_USUAL, place_of, remarks_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from finefuse_zoo.datasets._cache import Images
    from finefuse_zoo.datasets._pictures import Item


@dataclass(frozen=True)
class HuggingFace:
    """Images and class numbers in columns of a data set of Hugging Face: from a folder, or by name from the hub.

    `path` is a folder written by `save_to_disk`, or one of files that `load_dataset` reads. `name` is one on the hub,
    with a `revision` (a tag or commit), without which the data could change unnoticed. `classes` is their
    number, which a plan must know before anything is loaded. `train` and `test` are names of its splits; where `test`
    is none, the share `test_share` of every class is cut off by seed. Images that can't be read are counted and named,
    and so are other splits and columns of what `save_to_disk` wrote. All else is as in the data set `folder`.
    """

    classes: Annotated[int, Ge(2)]
    path: Path | None = None
    name: str | None = None
    revision: str | None = None
    config: str | None = None
    train: str = "train"
    test: str | None = None
    image: str = "image"
    label: str = "label"
    size: Annotated[int, Ge(4)] = 64
    channels: Literal[1, 3] = 3
    val: Share | Count = 0.1
    shots: Count | None = None
    fraction: Share | None = None
    test_share: Share = 0.2

    def __post_init__(self) -> None:
        one_of(shots=self.shots, fraction=self.fraction)
        one_of(path=self.path, name=self.name)
        if self.path is None and None in (self.name, self.revision):
            raise ValueError("needs a path, or a name and a revision")

    @property
    def task(self) -> Task:
        """As the parameters say."""
        return Classification(self.classes, "image", (self.channels, self.size, self.size))

    def fingerprint(self) -> str:
        """The files' content, or name and revision; and the version of Pillow, which decodes the images."""
        return digest_of_text(version("pillow"), *self._content())

    def describe(self, _seed: int) -> Description:
        """Names of the classes, if the data set has them."""
        names = self._names()
        return Description(outputs={"classes": names} if names else {})

    def remarks(self) -> list[str]:
        """What is left out, or read in part only; what is wrong within images is known once they are decoded."""
        used = [self.train] if self.test is None else [self.train, self.test]
        splits = [split for split in self._json("dataset_dict.json").get("splits", ()) if split not in used]
        columns = [name for name in self._features(self.train) if name not in (self.image, self.label)]
        left_out = {"split": splits, "column": columns}
        where = self.path or self.name
        told = [
            f"{where}: leaves out the {what}{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
            for what, names in left_out.items()
            if names
        ]
        for split in used:
            place = place_of(self._digest(split), self.task.input_shape, AS_USUAL)
            told += remarks_of(place, f"{where}, {split}", AS_USUAL)
        return told

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        from finefuse_zoo.datasets._cut import Cut, cut_splits

        images = self._images(self.train)
        official = None if self.test is None else self._images(self.test)
        cut = Cut(self.val, self.shots, self.fraction, None if official else self.test_share)
        return cut_splits(
            self.task, [f"{self.label} {number}" for number in range(self.classes)], images, official, cut, seed
        )

    def _content(self) -> list[str]:
        if self.path is None:
            return [str(self.name), str(self.revision), str(self.config)]
        if not self.path.is_dir():
            raise FinefuseError(f"{self.path}: there is no such folder")
        known = digests(self.path, files_in(self.path))
        return [*known.keys(), *known.values(), str(self.config)]

    def _images(self, split: str) -> Images:
        from finefuse_zoo.datasets._cache import decoded

        return decoded(self._digest(split), lambda: self._items(split), self.task.input_shape)

    def _digest(self, split: str) -> str:
        return digest_of_text(split, self.image, self.label, str(self.classes), *self._content())

    def _json(self, *name: str) -> dict[str, Any]:
        """What a file that `save_to_disk` writes says; nothing where there is none."""
        return (json_of(self.path, None, "/".join(name)) or {}) if self.path is not None else {}

    def _features(self, split: str) -> dict[str, Any]:
        """The columns of a split that `save_to_disk` wrote, with what is in them."""
        return self._json(split, "dataset_info.json").get("features") or {}

    def _names(self) -> list[str]:
        """The names of the classes, as far as there are any."""
        if (told := self._features(self.train).get(self.label)) is not None:
            return list(told.get("names") or ())[: self.classes]
        feature = self._opened(self.train).features.get(self.label)
        return feature.names[: self.classes] if isinstance(feature, import_module("datasets").ClassLabel) else []

    def _items(self, split: str) -> Iterable[Item]:
        where, found = self.path or self.name, self._opened(split)
        if missing := {self.image, self.label} - set(found.column_names):
            columns = ", ".join(found.column_names)
            raise FinefuseError(f"{where}: there is no column {' and no '.join(sorted(missing))}, but {columns}")
        numbers = set(found.unique(self.label))
        if not numbers <= set(range(self.classes)):
            raise FinefuseError(f"{where}: {self.label!r} has {len(numbers)} values, not numbers below {self.classes}")
        return _items_of(found, split, self.image, self.label)

    def _opened(self, split: str) -> Any:
        """The split.

        Raises:
            FinefuseError: if it can't be loaded.
        """
        try:
            return self._load(split)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            hint = "" if self.path else "; without a network give the path of a folder written by save_to_disk"
            raise FinefuseError(
                f"{self.path or self.name}: the split {split!r} can't be loaded ({reason}){hint}"
            ) from error

    def _load(self, split: str) -> Any:
        datasets = import_module("datasets")

        if self.path is None:
            return datasets.load_dataset(self.name, self.config, revision=self.revision, split=split)
        if (self.path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(self.path))[split]
        return datasets.load_dataset(str(self.path), self.config, split=split)


def _items_of(found: Any, split: str, image: str, label: str) -> Iterator[Item]:
    def read(row: int) -> tuple[Image, int]:
        example = found[row]
        return example[image], int(example[label])

    for row in range(len(found)):
        yield f"{split}[{row}]", partial(read, row)
