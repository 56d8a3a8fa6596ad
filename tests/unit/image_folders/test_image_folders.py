"""`folder`: splits by seed from class directories, through the decoded cache."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finefuse import Classification, FinefuseError, Ref, files
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets import _trees
from finefuse_zoo.datasets.folder import Folder
from helpers.folders import CLASSES, counts, ids, parts

# -------------------------------------------------------------------------------------------------------------- splits


def test_images_keep_their_pixels_and_classes(train, test):
    splits = Folder(train, test, size=8).splits(0)
    assert splits.task == Classification(3, "image", (3, 8, 8))
    for part in parts(splits):
        assert part.x.dtype == torch.uint8
        assert part.y.dtype == torch.int64
    found = {x.numpy().tobytes(): CLASSES[y] for part in parts(splits) for x, y in zip(part.x, part.y, strict=True)}
    files = [*train.rglob("*.png"), *test.rglob("*.png")]
    expected = {np.asarray(Image.open(f)).transpose(2, 0, 1).tobytes(): f.parent.name for f in files}
    assert found == expected


def test_val_comes_from_train_and_never_from_test(train, test):
    splits = Folder(train, test, size=8, val=0.25).splits(0)
    assert counts(splits) == [[15] * 3, [5] * 3, [4] * 3]
    assert ids(splits.test) == {np.asarray(Image.open(f)).transpose(2, 0, 1).tobytes() for f in test.rglob("*.png")}
    assert len(ids(splits.train) | ids(splits.val) | ids(splits.test)) == 72


def test_without_a_test_folder_a_share_of_every_class_is_cut_by_seed(train):
    first, other = (Folder(train, size=8, test_share=0.3, val=2).splits(seed) for seed in (0, 1))
    assert counts(first) == counts(other) == [[12] * 3, [2] * 3, [6] * 3]
    assert len(ids(first.train) | ids(first.val) | ids(first.test)) == 60
    assert ids(first.test) != ids(other.test)


def test_the_same_seed_gives_the_same_bits_and_another_one_another_val(train, test):
    first, again, other = (Folder(train, test, size=8).splits(seed) for seed in (5, 5, 6))
    for one, two in zip(parts(first), parts(again), strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.y, two.y)
    assert ids(first.val) != ids(other.val)
    assert ids(first.test) == ids(other.test)


def test_val_does_not_depend_on_shots_and_more_shots_are_fewer_plus_more(train):
    few, more, half, all_ = (
        Folder(train, size=8, **chosen).splits(0) for chosen in ({"shots": 2}, {"shots": 5}, {"fraction": 0.5}, {})
    )
    assert [counts(s)[0][0] for s in (few, more, half, all_)] == [2, 5, 7, 14]
    for splits in (more, half, all_):
        assert ids(splits.val) == ids(few.val)
        assert ids(splits.test) == ids(few.test)
    assert ids(few.train) < ids(more.train) < ids(half.train) < ids(all_.train)


def test_too_few_images_of_a_class_are_an_error(train, test):
    with pytest.raises(FinefuseError, match="class 'ant' has 20 images that can be read, and 2 for validation, 19 for"):
        Folder(train, test, size=8, shots=19).splits(0)


# ------------------------------------------------------------------------------------------------- pictures of any kind


def test_other_sizes_are_resized_by_the_shorter_side_and_keep_the_middle(make, tmp_path):
    folder = make.tree(tmp_path / "wide", ("a", "b"), 3, (16, 8))
    stripes = np.zeros((8, 16, 3), np.uint8)
    stripes[:, 4:12] = 200
    for file in folder.rglob("*.png"):
        Image.fromarray(stripes).save(file)
    assert torch.equal(Folder(folder, size=8, val=1).splits(0).train.x.unique(), torch.tensor([200], dtype=torch.uint8))


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("L", 7, [7, 7, 7]), ("RGBA", (1, 2, 3, 255), [1, 2, 3]), ("I;16", 0x1234, [0x12] * 3), ("1", 1, [255] * 3)],
)
def test_pictures_of_other_modes_become_rgb(make, tmp_path, mode, value, expected):
    folder = make.tree(tmp_path / "tree", ("a", "b"), 3)
    for file in folder.rglob("*.png"):
        Image.new(mode, (4, 4), value).save(file)
    x = Folder(folder, size=4, val=1).splits(0).train.x
    assert x[:, :, 0, 0].unique(dim=0).tolist() == [expected]


def test_a_palette_with_transparent_entries_is_read_without_a_warning(make, tmp_path):
    folder = make.tree(tmp_path / "tree", ("a", "b"), 3)
    for file in folder.rglob("*.png"):
        image = Image.new("P", (4, 4), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.save(file, transparency=bytes([0, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = Folder(folder, size=4, val=1).splits(0).train.x
    assert x[0, :, 0, 0].tolist() == [10, 20, 30]


def test_a_picture_taken_sideways_is_turned(make, tmp_path):
    folder = make.tree(tmp_path / "tree", ("a", "b"), 3)
    left = np.zeros((8, 8), np.uint8)
    left[:, :4] = 255
    for file in folder.rglob("*.png"):
        image = Image.fromarray(left)
        image.getexif()[0x0112] = 6  # the camera was held a quarter turn to the left
        image.save(file, exif=image.getexif())
    x = Folder(folder, size=8, channels=1, val=1).splits(0).train.x
    assert x[0, 0, :4].eq(255).all()
    assert x[0, 0, 4:].eq(0).all()


def test_grey_images_have_one_channel_if_asked(train):
    folder = Folder(train, size=8, channels=1)
    assert folder.splits(0).train.x.shape[1:] == folder.task.input_shape == (1, 8, 8)


# ------------------------------------------------------------------------------------------------------- broken files


def test_broken_files_are_left_out_and_named(train, test, cache, caplog):
    (train / "ant" / "003.png").write_bytes(b"no picture")
    half = (train / "bee" / "007.png").read_bytes()
    (train / "bee" / "007.png").write_bytes(half[: len(half) // 2])
    with caplog.at_level(logging.WARNING, "finefuse"):
        splits = Folder(train, test, size=8, val=2).splits(0)
    assert counts(splits)[0] == [17, 17, 18]
    assert "2 of 60 images can't be read and are left out: ant/003.png, bee/007.png" in caplog.text
    broken = [json.loads(file.read_text())["broken"] for file in cache.glob("*/*/meta.json")]
    assert sorted(map(list, broken)) == [[], ["ant/003.png", "bee/007.png"]]
    caplog.clear()
    Folder(train, test, size=8, val=2).splits(1)
    assert caplog.text == ""


def test_a_class_that_loses_all_its_files_is_an_error(train):
    for file in (train / "cow").iterdir():
        file.write_bytes(b"")
    with pytest.raises(FinefuseError, match="class 'cow' has 0 images that can be read"):
        Folder(train, size=8).splits(0)


def test_nothing_that_can_be_read_is_an_error(train, test):
    for file in test.rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(FinefuseError, match="none of 12 images can be read: UnidentifiedImageError: cannot identify"):
        Folder(train, test, size=8).splits(0)


# ------------------------------------------------------------------------------------------------------------ archives


@pytest.mark.parametrize("name", ["data.tar", "data.tar.xz"])
def test_an_archive_gives_the_same_splits_as_its_folder(make, train, test, tmp_path, name):
    file = make.archive(train.parent, tmp_path / name)
    packed, loose = Folder(file / "data/train", file / "data/test", size=8), Folder(train, test, size=8)
    assert packed.task == loose.task
    assert packed.fingerprint() == packed.fingerprint() != ""
    for one, two in zip(parts(packed.splits(0)), parts(loose.splits(0)), strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.y, two.y)


def test_a_torn_archive_is_one_sentence(make, train, tmp_path):
    file = make.archive(train.parent, tmp_path / "data.tar.xz")
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(FinefuseError, match=r"data.tar.xz: not an archive that can be read: "):
        _ = Folder(file / "data/train", size=8).task


def test_an_archive_that_was_listed_once_is_not_opened_again_by_a_plan(make, train, tmp_path, monkeypatch):
    file = make.archive(train.parent, tmp_path / "data.tar.xz")
    monkeypatch.setattr(files, "RECENT", -1)
    folder = Folder(file / "data/train", size=8)
    first = folder.task, folder.fingerprint()
    monkeypatch.setattr(_trees.tarfile, "open", None)
    monkeypatch.setattr(files, "_digest", None)
    assert (folder.task, folder.fingerprint()) == first


def test_listing_an_archive_takes_no_path_apart_for_every_image(make, train, tmp_path, monkeypatch):
    calls, relative_to = [], Path.relative_to
    tree = _trees.tree_at(make.archive(train.parent, tmp_path / "data.tar") / "data/train")
    monkeypatch.setattr(Path, "relative_to", lambda *paths: calls.append(paths) or relative_to(*paths))
    assert len(tree.listing.images) == len(list(tree.contents())) == 60
    assert len(calls) < 10


# ----------------------------------------------------------------------------------------------------------- bad input


def test_paths_that_are_not_there_or_no_class_directories_are_one_sentence(make, train, test, tmp_path):
    (tmp_path / "note.txt").write_text("")
    cases = {
        tmp_path / "none": "none: there is no such folder or archive",
        tmp_path / "note.txt": "note.txt: neither a folder nor an archive",
        train / "ant": "ant: expected a directory of images for every class, and there is none",
        train.parent: "data: test and train are not classes; give their paths one by one",
    }
    for where, message in cases.items():
        with pytest.raises(FinefuseError, match=message):
            _ = Folder(where, size=8).task


def test_test_classes_that_train_has_not_are_named(make, train, tmp_path):
    strange = make.tree(tmp_path / "strange", ("ant", "dog", "elk"), 2)
    with pytest.raises(FinefuseError, match=f"{strange}: dog, elk are not classes of {train}"):
        Folder(train, strange, size=8).splits(0)


def test_directories_without_images_are_an_error(tmp_path):
    for name in CLASSES:
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(FinefuseError, match="empty: there is no image in any of its directories"):
        Folder(tmp_path / "empty", size=8).splits(0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "needs a value for 'train'"),
        ({"train": "x", "val": 1.5}, "val must be less than 1"),
        ({"train": "x", "channels": 2}, "channels must be 1 or 3"),
        ({"train": "x", "shots": 2, "fraction": 0.5}, "only one of shots and fraction can be given"),
    ],
)
def test_bad_parameters_are_one_sentence(params, message):
    with pytest.raises(ParameterError, match=message):
        Registry().build("dataset", Ref.of("folder", **params))


def test_paths_are_relative_to_the_suite_file(train, tmp_path):
    text = (
        'name = "x"\ndatasets = [{ use = "folder", train = "data/train" }]\nbackbones = ["cnn-s"]\nschemes = ["full"]\n'
    )
    (tmp_path / "s.toml").write_text(text)
    (ref,) = load_suite(tmp_path / "s.toml", Registry()).datasets
    assert ref.kwargs["train"] == str(train)


def test_the_task_and_the_fingerprint_need_neither_torch_nor_pillow(train):
    code = (
        "import sys; from finefuse import Ref; from finefuse.discovery.registry import Registry; "
        "one = Registry().build('dataset', Ref.of('folder', train=sys.argv[1])); one.task, one.fingerprint(); "
        "print({'torch._C', 'PIL', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(train)], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr
