"""What data sets other than files of one's own say of themselves: names of classes, units, and what is left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import MappingProxyType, ModuleType

import numpy as np
import pytest
import torch

from finefuse import FinefuseError
from finefuse.discovery import capabilities
from finefuse_zoo.datasets._cache import decoded
from finefuse_zoo.datasets.diabetes import Diabetes, DiabetesSource
from finefuse_zoo.datasets.digits import Digits
from finefuse_zoo.datasets.huggingface import HuggingFace
from finefuse_zoo.datasets.letters import CHARACTERS, Letters
from finefuse_zoo.datasets.torchvision_sets import Torchvision


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


def classes(dataset: object) -> list[str]:
    return list(capabilities.description(dataset, 0).outputs["classes"])


# ------------------------------------------------------------------------------------------------------------- shipped


def test_digits_are_called_by_what_they_show():
    from sklearn.datasets import load_digits

    assert classes(Digits()) == [str(name) for name in load_digits().target_names]


def test_letters_are_called_by_what_they_show():
    from finefuse_zoo.datasets._drawing import draw
    from finefuse_zoo.datasets._pixels import as_splits

    names = classes(Letters())
    assert names == list(CHARACTERS)
    test = Letters(per_class=20).splits(0).test
    for label in (0, 17, 52):
        rows = np.arange(20)
        drawn = as_splits(Letters.task, draw(names[label], 20), np.full(20, label), rows, rows, rows).train.x
        assert all((drawn == x).all((1, 2, 3)).any() for x in test.x[test.y == label])


@pytest.mark.parametrize("dataset", [Diabetes(), DiabetesSource()], ids=str)
def test_units_give_back_the_progress_that_was_measured(dataset):
    from sklearn.datasets import load_diabetes

    told, splits = capabilities.description(dataset, 0).outputs, dataset.splits(0)
    known = load_diabetes().target
    for part in (splits.train, splits.val, splits.test):
        progress = part.y[:, 0].double() * told["spread"] + told["centre"]
        assert np.abs(progress.numpy()[:, None] - known).min(1).max() < 1e-3


# --------------------------------------------------------------------------------------------------------- torchvision


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, fixture_module) -> Path:
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    images: ModuleType = fixture_module("images")
    root = tmp_path_factory.mktemp("torchvision")
    images.eurosat(root, 4)
    return root


def test_classes_of_torchvision_have_its_names(root, fixture_module):
    eurosat = Torchvision("EuroSAT", root=root, size=8)
    assert classes(eurosat) == list(fixture_module("images").EUROSAT)
    assert classes(Torchvision("SVHN")) == [str(digit) for digit in range(10)]


def test_names_that_need_files_that_are_missing_are_an_error(tmp_path):
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    with pytest.raises(FinefuseError, match="EuroSAT"):
        classes(Torchvision("EuroSAT", root=tmp_path, download=False))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SVHN", ["SVHN: its 531,131 extra images are left out"]),
        ("STL10", ["STL10: its 100,000 unlabelled images are left out"]),
        ("CIFAR10", []),
    ],
)
def test_images_of_torchvision_that_are_left_out_are_named(name, told, tmp_path):
    assert Torchvision(name, root=tmp_path).remarks() == told


def test_other_numbers_of_images_and_broken_ones_are_counted(root):
    broken = root / "eurosat" / "2750" / "Forest" / "001.jpg"
    kept = broken.read_bytes()
    eurosat = Torchvision("EuroSAT", root=root, size=8)
    assert eurosat.remarks() == []  # before they are decoded nothing is known
    try:
        broken.write_bytes(b"no image")
        eurosat.splits(0)
        first, second = eurosat.remarks()
    finally:
        broken.write_bytes(kept)
    assert first == "EuroSAT: has 40 train images, where the official one has 27,000"
    assert second.startswith("EuroSAT, train: 1 of 40 images can't be read and are left out: train[")


# -------------------------------------------------------------------------------------------------------- Hugging Face


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The JSON files that `save_to_disk` writes for a DatasetDict."""
    label = {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label, "source": {"dtype": "string", "_type": "Value"}}
    folder = tmp_path / "saved"
    for split in ("train", "test", "unlabelled"):
        (folder / split).mkdir(parents=True)
        (folder / split / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test", "unlabelled"]}))
    return folder


def test_class_names_of_a_saved_data_set_need_no_package(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert classes(HuggingFace(classes=3, path=saved)) == ["cat", "dog", "eel"]
    plain = HuggingFace(classes=3, path=saved, label="source")
    assert capabilities.description(plain, 0).outputs == {}


def test_class_names_of_other_data_sets_come_from_their_columns(tmp_path, monkeypatch):
    class ClassLabel:
        names = ("cat", "dog", "eel")

    class Split:
        features = MappingProxyType({"label": ClassLabel(), "number": object()})

    fake = ModuleType("datasets")
    fake.ClassLabel, fake.load_dataset = ClassLabel, lambda *_, **__: Split()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert classes(HuggingFace(classes=2, path=tmp_path)) == ["cat", "dog"]
    assert classes(HuggingFace(classes=3, name="a/b", revision="c")) == ["cat", "dog", "eel"]
    assert capabilities.description(HuggingFace(classes=3, path=tmp_path, label="number"), 0).outputs == {}


def test_splits_and_columns_that_are_left_out_are_named(saved):
    told = HuggingFace(classes=3, path=saved).remarks()
    assert told == [
        f"{saved}: leaves out the splits 'test', 'unlabelled'",
        f"{saved}: leaves out the column 'source'",
    ]
    assert HuggingFace(classes=3, path=saved, test="test").remarks()[0].endswith("the split 'unlabelled'")


def test_images_of_hugging_face_that_cannot_be_read_are_counted(saved, fixture_module):
    images: ModuleType = fixture_module("images")

    def broken() -> None:
        raise OSError("not an image")

    items = [(f"train[{row}]", lambda row=row: (images.picture(row), row % 3)) for row in range(5)]
    one = HuggingFace(classes=3, path=saved, size=8)
    made = decoded(one._digest("train"), lambda: [*items, ("train[5]", broken)], one.task.input_shape)
    assert torch.equal(made.y, torch.tensor([0, 1, 2, 0, 1, -1]))
    assert one.remarks()[-1] == f"{saved}, train: 1 of 6 images can't be read and are left out: train[5]"


def test_a_data_set_of_a_hub_that_was_not_loaded_has_nothing_to_say():
    assert HuggingFace(classes=3, name="a/b", revision="c").remarks() == []
