"""`torchvision` data sets: known without importing it, read by it, from real files and from fakes of their layout."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest
import torch

from finefuse import FinefuseError, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets._official import OFFICIAL
from finefuse_zoo.datasets.torchvision_sets import Name, Torchvision

datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
RAW = DATA / "fashion-mnist" / "FashionMNIST" / "raw"


@pytest.fixture(scope="module")
def make(fixture_module) -> ModuleType:
    return fixture_module("images")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refused)


def idx(file: Path, array: np.ndarray) -> None:
    """The format of MNIST."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A fake MNIST: 100 training images and 20 for the test; row i is of class i % 10 and full of i."""
    for part, n in (("train", 100), ("t10k", 20)):
        images = np.arange(n)[:, None, None] + np.zeros((n, 28, 28))
        idx(tmp_path / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", images)
        idx(tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    return tmp_path


# ------------------------------------------------------------------------------------------------ what is known of them


def test_every_name_that_can_be_given_is_known_and_no_other():
    assert set(get_args(Name)) == set(OFFICIAL)


@pytest.mark.parametrize("name", OFFICIAL)
def test_files_and_checksums_are_those_of_torchvision(name):
    source = Path(sys.modules[getattr(datasets, name).__module__].__file__).read_text()
    for file in OFFICIAL[name].files:
        assert file.md5 in source
        assert file.path.rpartition("/")[2] in source


def test_the_task_and_the_fingerprint_need_neither_torch_nor_torchvision(mnist):
    code = (
        "import sys; from pathlib import Path; from finefuse_zoo.datasets.torchvision_sets import Torchvision\n"
        "one = Torchvision('MNIST', root=Path(sys.argv[1])); one.task, one.fingerprint()\n"
        "print({'torch', 'PIL', 'torchvision', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mnist)], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_task_says_classes_and_shape(name):
    task = Torchvision(name, size=32).task
    assert task.input_shape == ((1, 32, 32) if "MNIST" in name else (3, 32, 32))
    assert task.outputs == OFFICIAL[name].classes


def test_sets_of_one_size_keep_it():
    assert [Torchvision(name).task.input_shape for name in ("CIFAR10", "STL10", "EuroSAT", "MNIST")] == [
        (3, 32, 32),
        (3, 96, 96),
        (3, 64, 64),
        (1, 28, 28),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "DTD"}, "DTD needs a value for 'size', because its images differ in size"),
        ({"name": "Cifar10"}, "name must be 'CIFAR10', 'CIFAR100'"),
        ({"name": "MNIST", "shots": 1, "fraction": 0.1}, "only one of shots and fraction can be given"),
    ],
)
def test_bad_parameters_are_one_sentence(params, message):
    with pytest.raises(ParameterError, match=message):
        Registry().build("dataset", Ref.of("torchvision", **params))


# -------------------------------------------------------------------------------------------------------------- splits


def test_the_official_test_images_are_the_test_and_val_comes_from_train(mnist):
    splits = Torchvision("MNIST", root=mnist, val=2).splits(0)
    assert splits.test.x[:, 0, 0, 0].tolist() == list(range(20))
    assert splits.test.y.tolist() == [n % 10 for n in range(20)]
    assert (splits.train.x.dtype, splits.train.x.shape) == (torch.uint8, (80, 1, 28, 28))
    chosen = splits.train.x[:, 0, 0, 0].tolist() + splits.val.x[:, 0, 0, 0].tolist()
    assert sorted(chosen) == list(range(100))
    assert torch.bincount(splits.val.y).tolist() == [2] * 10
    assert torch.equal(splits.val.y, splits.val.x[:, 0, 0, 0].long() % 10)


def test_shots_leave_val_alone_and_seeds_do_not(mnist):
    few, all_, other = (
        Torchvision("MNIST", root=mnist, shots=shots).splits(seed) for shots, seed in ((3, 0), (None, 0), (3, 1))
    )
    assert len(few.train) == 30
    assert torch.equal(few.val.x, all_.val.x)
    assert not torch.equal(few.val.x, other.val.x)
    assert set(few.train.x[:, 0, 0, 0].tolist()) < set(all_.train.x[:, 0, 0, 0].tolist())


@pytest.fixture
def dtd(make, fixture_module, tmp_path) -> Path:
    """A fake DTD with one picture of every class in each official part."""
    fixture_module("official").textures(tmp_path, make)
    return tmp_path


def test_official_validation_images_join_the_training_images(dtd):
    splits = Torchvision("DTD", root=dtd, size=8, val=1).splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [47] * 3
    assert splits.test.y.tolist() == list(range(47))
    assert splits.train.x.shape == (47, 3, 8, 8)


def test_without_official_test_images_a_fifth_of_every_class_is_cut(make, tmp_path):
    splits = Torchvision("EuroSAT", root=make.eurosat(tmp_path, 10)).splits(0)
    assert [torch.bincount(part.y).tolist() for part in (splits.train, splits.val, splits.test)] == [
        [7] * 10,
        [1] * 10,
        [2] * 10,
    ]


def test_cifar_is_read_from_its_batches(tmp_path, monkeypatch):
    folder, rng = tmp_path / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir()

    def batch(name: str, content: dict[str, object]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    pixels = {n: rng.integers(0, 256, (20, 3072), np.uint8) for n in ("data_batch_1", "test_batch")}
    files = {n: batch(n, {"data": x, "labels": [i % 10 for i in range(20)]}) for n, x in pixels.items()}
    meta = batch("batches.meta", {"label_names": [str(i) for i in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [files["data_batch_1"]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [files["test_batch"]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    splits = Torchvision("CIFAR10", root=tmp_path, val=1).splits(0)
    assert np.array_equal(splits.test.x.numpy(), pixels["test_batch"].reshape(20, 3, 32, 32))
    assert len(splits.train) == 10


def test_a_broken_picture_is_left_out(make, tmp_path):
    root = make.eurosat(tmp_path, 10)
    (root / "eurosat" / "2750" / "River" / "001.jpg").write_bytes(b"no picture")
    splits = Torchvision("EuroSAT", root=root).splits(0)
    assert sum(map(len, (splits.train, splits.val, splits.test))) == 99


def test_a_picture_that_is_missing_is_an_error(dtd):
    missing = dtd / "dtd" / "dtd" / "images" / "c05" / "test.png"
    missing.unlink()
    with pytest.raises(FinefuseError, match=f"{missing} is missing; if it comes from an archive, unpack that again"):
        Torchvision("DTD", root=dtd, size=8).splits(0)


# ------------------------------------------------------------------------------------------------- what is there or not


def test_what_is_not_there_yet_has_the_fingerprint_it_will_have(tmp_path):
    if not RAW.is_dir():
        pytest.skip(f"{RAW} is not there")
    before = Torchvision("FashionMNIST", root=tmp_path / "none").fingerprint()
    assert Torchvision("FashionMNIST", root=DATA / "fashion-mnist").fingerprint() == before
    assert Torchvision("MNIST", root=tmp_path / "none").fingerprint() != before


def test_files_that_are_not_the_official_ones_have_another_fingerprint(mnist):
    fake, official = (Torchvision("MNIST", root=root).fingerprint() for root in (mnist, mnist / "none"))
    idx(mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", np.zeros(20))
    assert len({fake, official, Torchvision("MNIST", root=mnist).fingerprint()}) == 3


@pytest.mark.parametrize("name", OFFICIAL)
def test_without_a_network_the_error_says_what_is_missing_and_where_to_put_it(tmp_path, name):
    first = OFFICIAL[name].files[0]
    with pytest.raises(FinefuseError) as caught:
        Torchvision(name, root=tmp_path, size=32).splits(0)
    message = str(caught.value)
    assert message.startswith(f"data set {name}: {tmp_path / first.path} is missing and can't be downloaded (")
    assert message.endswith(f"; put the file there, from {first.url}")
    assert "\n" not in message
    with pytest.raises(FinefuseError, match="is missing and download = false was given; put the file there"):
        Torchvision(name, root=tmp_path, size=32, download=False).splits(0)


def test_half_unpacked_official_files_are_an_error(mnist, monkeypatch):
    for file in OFFICIAL["MNIST"].files:
        (mnist / file.path).write_bytes(gzip.compress(file.path.encode()))
    monkeypatch.setattr(
        "finefuse_zoo.datasets.torchvision_sets.digests",
        lambda root, names, *_: {f.path: f.md5 for f in OFFICIAL["MNIST"].files},
    )
    with pytest.raises(FinefuseError, match="MNIST/raw: has 100 of 60000 train images; delete it and run again"):
        Torchvision("MNIST", root=mnist).splits(0)


# --------------------------------------------------------------------------------------------------------- real files


@pytest.mark.skipif(not RAW.is_dir(), reason=f"{RAW} is not there")
def test_fashion_mnist_from_its_archives(tmp_path, cache, monkeypatch):
    for file in RAW.glob("*.gz"):
        (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True, exist_ok=True)
        (tmp_path / "FashionMNIST" / "raw" / file.name).symlink_to(file)
    one = Torchvision("FashionMNIST", root=tmp_path, shots=100)
    before, splits = one.fingerprint(), one.splits(0)
    assert one.fingerprint() == before
    with gzip.open(RAW / "t10k-images-idx3-ubyte.gz") as file:
        assert splits.test.x.numpy().tobytes() == file.read()[16:]
    assert torch.bincount(splits.train.y).tolist() == [100] * 10
    assert torch.bincount(splits.val.y).tolist() == [600] * 10
    assert sorted(json.loads(f.read_text())["shape"][0] for f in cache.glob("*/*/meta.json")) == [10000, 60000]
    monkeypatch.setattr(datasets, "FashionMNIST", None)  # no longer asked
    assert torch.equal(one.splits(0).train.x, splits.train.x)
