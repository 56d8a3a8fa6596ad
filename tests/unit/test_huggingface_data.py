"""`huggingface` data sets, from a folder; the hub is only asked where there is one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from finefuse import FinefuseError, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets.huggingface import HuggingFace

datasets = pytest.importorskip("datasets", reason="datasets is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, fixture_module) -> Path:
    """Three classes, 30 pictures for training and 9 for the test, in columns `img` and `kind`."""
    images: ModuleType = fixture_module("images")
    kinds = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b", "c"])})

    def part(n: int, seed: int) -> object:
        rows = {"img": [images.picture(seed + i) for i in range(n)], "kind": [i % 3 for i in range(n)]}
        return datasets.Dataset.from_dict(rows, features=kinds)

    folder = tmp_path_factory.mktemp("hf") / "saved"
    datasets.disable_progress_bars()
    datasets.DatasetDict(train=part(30, 0), test=part(9, 100)).save_to_disk(folder)
    return folder


def given(saved: Path, **params) -> HuggingFace:
    return HuggingFace(**{"classes": 3, "path": saved, "image": "img", "label": "kind", "size": 8, **params})


def test_a_saved_data_set_gives_its_images_and_its_own_test(saved, fixture_module):
    splits = given(saved, test="test", val=2).splits(0)
    assert [torch.bincount(part.y).tolist() for part in (splits.train, splits.val, splits.test)] == [
        [8] * 3,
        [2] * 3,
        [3] * 3,
    ]
    assert splits.test.y.tolist() == [0, 1, 2] * 3
    expected = torch.tensor(list(fixture_module("images").picture(100).tobytes())).view(8, 8, 3).permute(2, 0, 1)
    assert torch.equal(splits.test.x[0].long(), expected)


def test_without_a_test_split_a_share_is_cut(saved):
    splits = given(saved, val=1).splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [21, 3, 6]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image": "picture"}, "there is no column picture, but img, kind"),
        ({"classes": 2}, "'kind' has 3 values, not numbers below 2"),
        ({"train": "all"}, "the split 'all' can't be loaded"),
        ({"path": Path("nowhere")}, "nowhere: there is no such folder"),
    ],
)
def test_what_does_not_fit_is_one_sentence(saved, params, message):
    with pytest.raises(FinefuseError, match=message) as caught:
        given(saved, **params).splits(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"classes": 3}, "needs a path, or a name and a revision"),
        ({"classes": 3, "name": "owner/something"}, "needs a path, or a name and a revision"),
        ({"classes": 3, "name": "a/b", "path": "c"}, "only one of path and name can be given"),
    ],
)
def test_bad_parameters_are_one_sentence(params, message):
    with pytest.raises(ParameterError, match=message):
        Registry().build("dataset", Ref.of("huggingface", **params))


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def refused(*_, **__):
        raise ConnectionError("Couldn't reach 'owner/something'\non the hub")

    monkeypatch.setattr(datasets, "load_dataset", refused)
    one = HuggingFace(classes=3, name="owner/something", revision="main")
    with pytest.raises(FinefuseError) as caught:
        one.splits(0)
    assert str(caught.value) == (
        "owner/something: the split 'train' can't be loaded (Couldn't reach 'owner/something' on the hub); "
        "without a network give the path of a folder written by save_to_disk"
    )
