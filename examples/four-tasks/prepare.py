"""Write a few images of four data sets into folders that the data set `folder` reads.

python prepare.py FashionMNIST/raw CIFAR-10-images.tar.xz data

Of every class the first 100 training images and the first 50 test images are taken; the digits and the signs, which
come with scikit-learn and with finefuse, have no official test images and are cut in the same way.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from finefuse_zoo.datasets.signs import Signs

KEPT = {"train": 100, "test": 50}
GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
Picture = tuple[str, str, np.ndarray]
"""Part, class, and grey values from 0 to 255."""


def digits() -> Iterator[Picture]:
    """scikit-learn's, whose values go to 16."""
    bunch, seen = load_digits(), Counter[str]()
    for pixels, number in zip(bunch.images, bunch.target, strict=True):
        seen[str(number)] += 1
        yield "train" if seen[str(number)] <= KEPT["train"] else "test", str(number), (pixels * 15).astype(np.uint8)


def signs() -> Iterator[Picture]:
    """Those that finefuse draws, at 64 pixels."""
    splits = Signs(side=64, shots=100, val=50).splits(0)
    for part, data in (("train", splits.train), ("test", splits.test)):
        for pixels, number in zip(data.x[:, 0].numpy(), data.y.tolist(), strict=True):
            yield part, Signs.classes[number], pixels


def garments(raw: Path) -> Iterator[Picture]:
    """Fashion-MNIST, from its four archives."""
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = np.frombuffer(gzip.decompress((raw / f"{prefix}-images-idx3-ubyte.gz").read_bytes()), np.uint8, -1, 16)
        labels = np.frombuffer(gzip.decompress((raw / f"{prefix}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, -1, 8)
        for pixels, label in zip(images.reshape(-1, 28, 28), labels, strict=True):
            yield part, GARMENTS[label], pixels


def write(pictures: Iterator[Picture], to: Path) -> None:
    """The first of every class, as PNG."""
    seen = Counter[tuple[str, str]]()
    for part, name, pixels in pictures:
        seen[part, name] += 1
        if seen[part, name] <= KEPT[part]:
            file = to / part / name / f"{seen[part, name]:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)


def unpack(archive: Path, to: Path) -> None:
    """The first images of every class of CIFAR-10 (JPEG), as they are: .../train/cat/0000.jpg."""
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and member.name.endswith(".jpg"):
                part, name, file = Path(member.name).parts[-3:]
                if int(Path(file).stem) < KEPT[part]:
                    target = to / part / name / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())


if __name__ == "__main__":
    raw, archive, out = map(Path, sys.argv[1:4])
    write(garments(raw), out / "fashion-mnist")
    unpack(archive, out / "cifar10-jpeg")
    write(digits(), out / "digits")
    write(signs(), out / "signs")
