"""Facts about torchvision's data sets without importing it: their files, checksums, shapes and official splits.

Checksums, addresses and the names of splits are torchvision's, numbers of images those of the articles. A split's name
is the keyword that torchvision's class is called with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRAIN, TEST = ({"train": True},), ({"train": False},)
SPLIT_TRAIN, SPLIT_TEST = ({"split": "train"},), ({"split": "test"},)
WITH_VAL, TRAINVAL = ({"split": "train"}, {"split": "val"}), ({"split": "trainval"},)


@dataclass(frozen=True)
class File:
    """A file to download: from where, to where below the root, and its md5 ("" where torchvision knows none)."""

    url: str
    path: str
    md5: str


@dataclass(frozen=True)
class Official:
    """A data set: `shape` (C, H, W) is None where images differ in size, `test` is empty where there is no such split.

    `folder` holds the unpacked files below the root, `images` the numbers of images for training and for the test.
    `left_out` are other images it has, and `named` is whether torchvision knows the names of its classes.
    """

    classes: int
    shape: tuple[int, int, int] | None
    train: tuple[dict[str, Any], ...]
    test: tuple[dict[str, Any], ...]
    images: tuple[int, int]
    folder: str
    files: tuple[File, ...]
    left_out: str = ""
    named: bool = True


def _mnist(name: str, url: str, *md5: str) -> Official:
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    files = [File(f"{url}{file}", f"{name}/raw/{file}", digest) for file, digest in zip(names, md5, strict=True)]
    return Official(10, (1, 28, 28), TRAIN, TEST, (60000, 10000), f"{name}/raw", tuple(files))


def _one(url: str, md5: str, folder: str = "") -> tuple[File, ...]:
    name = url.rpartition("/")[2]
    return (File(url, f"{folder}/{name}" if folder else name, md5),)


_CIFAR, _VGG = "https://www.cs.toronto.edu/~kriz/", "https://www.robots.ox.ac.uk/~vgg/data/"
_SVHN = "http://ufldl.stanford.edu/housenumbers/"
_EUROSAT = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/"

OFFICIAL = {
    "CIFAR10": Official(
        *(10, (3, 32, 32), TRAIN, TEST, (50000, 10000), "cifar-10-batches-py"),
        _one(f"{_CIFAR}cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    ),
    "CIFAR100": Official(
        *(100, (3, 32, 32), TRAIN, TEST, (50000, 10000), "cifar-100-python"),
        _one(f"{_CIFAR}cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    ),
    "FashionMNIST": _mnist(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "MNIST": _mnist(
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "SVHN": Official(
        *(10, (3, 32, 32), SPLIT_TRAIN, SPLIT_TEST, (73257, 26032), ""),
        _one(f"{_SVHN}train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373")
        + _one(f"{_SVHN}test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        left_out="its 531,131 extra images",
        named=False,
    ),
    "STL10": Official(
        *(10, (3, 96, 96), SPLIT_TRAIN, SPLIT_TEST, (5000, 8000), "stl10_binary"),
        _one("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"),
        left_out="its 100,000 unlabelled images",
    ),
    "Flowers102": Official(
        *(102, None, WITH_VAL, SPLIT_TEST, (2040, 6149), "flowers-102"),
        _one(f"{_VGG}flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "flowers-102")
        + _one(f"{_VGG}flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", "flowers-102")
        + _one(f"{_VGG}flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
    ),
    "OxfordIIITPet": Official(
        *(37, None, TRAINVAL, SPLIT_TEST, (3680, 3669), "oxford-iiit-pet"),
        _one(f"{_VGG}pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford-iiit-pet")
        + _one(f"{_VGG}pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", "oxford-iiit-pet"),
    ),
    "DTD": Official(
        *(47, None, WITH_VAL, SPLIT_TEST, (3760, 1880), "dtd"),
        _one(f"{_VGG}dtd/download/dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1", "dtd"),
    ),
    "EuroSAT": Official(
        *(10, (3, 64, 64), ({},), (), (27000, 0), "eurosat"),
        _one(f"{_EUROSAT}EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387", "eurosat"),
    ),
    "Food101": Official(
        *(101, None, SPLIT_TRAIN, SPLIT_TEST, (75750, 25250), "food-101"),
        _one("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
    ),
    "FGVCAircraft": Official(
        *(100, None, TRAINVAL, SPLIT_TEST, (6667, 3333), "fgvc-aircraft-2013b"),
        _one(f"{_VGG}fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz", ""),
    ),
}
