"""`folder` on what other people's folders hold: nothing is dropped, repeated or read differently in silence."""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finefuse import FinefuseError
from finefuse_zoo.datasets._trees import tree_at
from finefuse_zoo.datasets.folder import Folder
from helpers.folders import CLASSES, counts


def total(folder: Folder) -> int:
    return sum(map(sum, counts(folder.splits(0))))


def fill(where: Path, image: Image.Image, **how: Any) -> Path:
    """Two classes of three pictures that are all the same."""
    for name in ("a", "b"):
        (where / name).mkdir(parents=True)
        for one in range(3):
            image.save(where / name / f"{one}.{how.get('format', 'png').lower()}", **how)
    return where


def first(folder: Folder) -> torch.Tensor:
    return folder.splits(0).train.x[0]


# ------------------------------------------------------------------------------------------------ what is no picture


@pytest.mark.parametrize(
    "name",
    [
        "ant/.ipynb_checkpoints/000-checkpoint.png",
        "__MACOSX/ant/000.png",
        ".git/000.png",
        "ant/._000.png",
        "ant/Thumbs.db",
        "ant/@eaDir/000.png",
        ".DS_Store",
        "desktop.ini",
    ],
)
def test_hidden_and_system_files_are_left_out_and_named(train, name):
    before = tree_at(train).listing.images
    (train / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(train / "ant" / "000.png", train / name)
    tree = tree_at(train)
    assert tree.listing.images == before
    assert tree.classes() == list(CLASSES)
    (said,) = Folder(train, size=8).remarks()
    assert said.startswith(f"{train}: left out are hidden and system files (1: ")
    assert name.startswith(said[said.index("1: ") + 3 : -1])


def test_other_files_and_files_beside_the_classes_are_named(train):
    (train / "ant" / "notes.txt").write_text("BM, no picture")
    (train / "ant" / "labels").write_text("x")
    shutil.copy(train / "ant" / "000.png", train / "cover.png")
    said = "left out are files beside the directories of the classes (1: cover.png); "
    said += "files that are no pictures (2: ant/labels, ant/notes.txt)"
    assert Folder(train, size=8).remarks() == [f"{train}: {said}"]


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".JPG", ".JpEg", "", ".1", ".jpg_original"])
def test_pictures_are_known_by_any_usual_ending_or_by_what_is_in_them(make, tmp_path, ending):
    where = make.tree(tmp_path / "t", ("a", "b"), 3, ending="jpg")
    expected = first(Folder(where, size=8, val=1))
    for file in [*where.rglob("*.jpg")]:
        file.rename(file.with_name(f"{file.stem}{ending}"))
    folder = Folder(where, size=8, val=1)
    assert folder.remarks() == []
    assert total(folder) == 6
    assert torch.equal(first(folder), expected)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_other_formats_without_an_ending(tmp_path, kind):
    where = fill(tmp_path / "t", Image.new("RGB", (8, 8), (9, 9, 9)), format=kind)
    for file in [*where.rglob("*.*")]:
        file.rename(file.with_suffix(""))
    assert float(first(Folder(where, size=8, val=1)).float().mean()) == pytest.approx(9, abs=1)


# --------------------------------------------------------------------------------------------------------------- links


def test_a_link_to_the_parent_repeats_nothing(train, test):
    before = counts(Folder(train, test, size=8).splits(0))
    links = {"ant/up": "..", "ant/top": "../..", "bee/self": ".", "cow/other": "../bee", "all": "."}
    for name, target in links.items():
        (train / name).symlink_to(target)
    folder = Folder(train, test, size=8)
    assert counts(folder.splits(0)) == before
    (said,) = folder.remarks()
    assert said == (
        f"{train}: left out are links to folders that are read anyway (5: all, ant/top, ant/up, bee/self, cow/other)"
    )


def test_two_links_to_each_other_end(make, train, tmp_path):
    one, two = make.tree(tmp_path / "one", ("in",), 2, seed=7), make.tree(tmp_path / "two", ("in",), 2, seed=8)
    (one / "in" / "there").symlink_to(two)
    (two / "in" / "back").symlink_to(one)
    (train / "ant" / "one").symlink_to(one)
    (train / "bee" / "one").symlink_to(one)
    folder = Folder(train, size=8)
    assert total(folder) == 64
    assert folder.remarks() == [
        f"{train}: left out are links to folders that are read anyway (2: ant/one/in/there/in/back, bee/one)"
    ]


def test_links_to_other_folders_and_files_are_followed_and_dead_ones_named(make, train, tmp_path):
    elsewhere = make.tree(tmp_path / "elsewhere", ("dog",), 4, seed=9)
    (train / "dog").symlink_to(elsewhere / "dog")
    (train / "ant" / "linked.png").symlink_to(elsewhere / "dog" / "000.png")
    (train / "ant" / "gone.png").symlink_to(tmp_path / "nowhere")
    folder = Folder(train, size=8)
    assert total(folder) == 65
    assert folder.remarks() == [f"{train}: left out are links that lead nowhere (1: ant/gone.png)"]


def test_pipes_sockets_and_devices_are_not_opened(train, monkeypatch):
    os.mkfifo(train / "ant" / "pipe.png")
    (train / "ant" / "zero.png").symlink_to("/dev/zero")
    monkeypatch.chdir(train / "ant")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.png")
    folder = Folder(train, size=8)
    assert total(folder) == 60
    (said,) = folder.remarks()
    assert said.endswith("left out are pipes, sockets and devices (3: ant/pipe.png, ant/socket.png, ant/zero.png)")


def test_a_folder_that_can_not_be_read_is_one_sentence(train, monkeypatch):
    real = os.scandir

    def refuse(where: Any) -> Any:
        if Path(where).name == "bee":
            raise PermissionError(13, "Permission denied", str(where))
        return real(where)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FinefuseError, match=r"bee/? can't be read: Permission denied$"):
        _ = Folder(train, size=8).task


# ------------------------------------------------------------------------------------------------------------- classes


def test_one_class_in_two_unicode_forms_is_one(make, tmp_path):
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    train = make.tree(tmp_path / "train", (composed, apart, "tea"), 4)
    test = make.tree(tmp_path / "test", (apart, "tea"), 3, seed=1)
    folder = Folder(train, test, size=8, val=1)
    assert folder.task.outputs == 2
    assert counts(folder.splits(0)) == [[7, 3, 0], [1, 1, 0], [3, 3, 0]]
    assert folder.remarks() == [
        f"{train}: directories whose names differ in their Unicode form are one class: {composed}"
    ]


def test_classes_without_an_image(train, test):
    (train / "dog").mkdir()
    with pytest.raises(FinefuseError, match="class 'dog' has 0 images that can be read"):
        Folder(train, test, size=8).splits(0)
    (train / "dog").rmdir()
    shutil.rmtree(test / "cow")
    assert Folder(train, test, size=8).remarks() == [f"{test}: there is no image of cow"]


# ------------------------------------------------------------------------------------------------------------ archives


def test_an_archive_says_the_same_of_what_is_left_out(make, train, tmp_path):
    (train / "ant" / ".DS_Store").write_text("x")
    (train / "ant" / "notes.txt").write_text("x")
    (train / "ant" / "000.png").rename(train / "ant" / "zero")
    (train / "bee" / "link.png").symlink_to("000.png")
    os.mkfifo(train / "bee" / "pipe.png")
    (train / "empty").mkdir()
    tree = tree_at(make.archive(train.parent, tmp_path / "data.tar") / "data/train")
    assert len(tree.listing.images) == len(list(tree.contents())) == 60
    assert tree.classes() == [*CLASSES, "empty"]
    (said,) = tree.listing.remarks(Path("it"))
    assert said == (
        "it: left out are files that are no pictures (1: ant/notes.txt); hidden and system files (1: ant/.DS_Store); "
        "links in an archive (1: bee/link.png); pipes, sockets and devices (1: bee/pipe.png)"
    )


def test_of_members_with_one_name_the_last_counts_as_when_it_is_unpacked(tmp_path):
    def png(value: int) -> bytes:
        file = io.BytesIO()
        Image.new("L", (4, 4), value).save(file, "PNG")
        return file.getvalue()

    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, value in [("a/1.png", 10), ("b/1.png", 20), ("./a/1.png", 30), ("a/2.png", 40), ("a/1.png", 50)]:
            info = tarfile.TarInfo(name)
            info.size = len(png(value))
            tar.addfile(info, io.BytesIO(png(value)))
    tree = tree_at(tmp_path / "t.tar")
    found = {name: Image.open(io.BytesIO(content)).getpixel((0, 0)) for name, content in tree.contents()}
    assert found == {"a/1.png": 50, "a/2.png": 40, "b/1.png": 20}
    assert len(tree.listing.images) == 3
    (said,) = tree.listing.remarks(tree.where)
    assert said.endswith("left out are files that the archive has once more further on (2: a/1.png, a/1.png)")


# ----------------------------------------------------------------------------------------------------- kinds of values


def test_sixteen_bits_are_scaled(tmp_path):
    values = np.array([[0, 65535, 32768, 257]] * 4, np.uint16)
    folder = Folder(fill(tmp_path / "t", Image.fromarray(values)), size=4, channels=1, val=1)
    assert first(folder)[0, 0].tolist() == [0, 255, 128, 1]


def test_twelve_bits_in_sixteen_are_refused_until_white_is_given(tmp_path):
    values = np.array([[0, 4095, 2048, 16]] * 4, np.uint16)
    where = fill(tmp_path / "t", Image.fromarray(values))
    with pytest.raises(FinefuseError, match=f"{where}: the images of 16 bits have no value above 4,095, and would be"):
        Folder(where, size=4, channels=1, val=1).splits(0)
    assert first(Folder(where, size=4, channels=1, val=1, white=4095))[0, 0].tolist() == [0, 255, 128, 1]
    assert first(Folder(where, size=4, channels=1, val=1, white=65535))[0, 0].tolist() == [0, 16, 8, 0]


def test_a_pgm_says_itself_what_is_white(tmp_path):
    where = fill(tmp_path / "t", Image.new("L", (4, 4)))
    for file in [*where.rglob("*.png")]:
        file.write_bytes(b"P5 4 4 1000\n" + np.array([[0, 1000, 500, 4]] * 4, ">u2").tobytes())
    assert first(Folder(where, size=4, channels=1, val=1))[0, 0].tolist() == [0, 255, 128, 1]


def test_a_tiff_of_twelve_bits_says_itself_what_is_white(tmp_path):
    where = fill(tmp_path / "t", Image.new("L", (4, 4)))
    tags = {256: 4, 257: 4, 258: 12, 259: 1, 262: 1, 277: 1, 278: 4, 279: 24}
    entries = {**tags, 273: 8 + 2 + 12 * 9 + 4}
    header = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, value in sorted(entries.items()):
        header += tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
    for file in where.rglob("*.png"):  # 0xFFF and 0x800 by turns, two in three bytes
        file.write_bytes(header + bytes(4) + bytes.fromhex("fff800") * 8)
    x = first(Folder(where, size=4, channels=1, val=1))
    assert x[0, 0].tolist() == [255, 128, 255, 128]


@pytest.mark.parametrize(("kind", "what"), [(np.float32, "floats"), (np.int32, "whole numbers of 32 bits")])
def test_32_bits_are_left_out_by_name_until_white_is_given(tmp_path, kind, what):
    where = fill(tmp_path / "t", Image.fromarray(np.array([[0, 200, 100, 50]] * 4, kind)), format="TIFF")
    with pytest.raises(FinefuseError, match=f"none of 6 .*{what}, and nothing says which value"):
        Folder(where, size=4, val=1).splits(0)
    x = first(Folder(where, size=4, channels=1, val=1, white=200))
    assert x[0, 0].tolist() == [0, 255, 128, 64]


def test_floats_that_are_not_finite_are_left_out_by_name(tmp_path):
    where = fill(tmp_path / "t", Image.fromarray(np.array([[1, np.nan]], np.float32)), format="TIFF")
    with pytest.raises(FinefuseError, match="some of its values are not finite"):
        Folder(where, size=4, val=1, white=1).splits(0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_show_the_ground(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 0, 255))  # a black drawing on nothing
    where = fill(tmp_path / "t", image.convert(mode))
    white, black = Folder(where, size=4, channels=1, val=1), Folder(where, size=4, channels=1, val=1, ground="black")
    assert first(white)[0].eq(0).sum() == 1
    assert first(white)[0].eq(255).sum() == 15
    assert not first(black).any()
    (said,) = white.remarks()
    assert said.startswith(f"{where}: 6 of 6 images have transparent parts, which show white: a/0.png, a/1.png")
    assert "which show black" in black.remarks()[0]


def test_of_several_frames_the_first_is_taken_and_said(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    where = fill(tmp_path / "t", frames[0], format="TIFF", save_all=True, append_images=frames[1:])
    folder = Folder(where, size=4, channels=1, val=1)
    assert first(folder).unique().tolist() == [10]
    (said,) = folder.remarks()
    assert said.startswith(
        f"{where}: 6 of 6 images have several frames or pages, of which the first is taken: a/0.tiff"
    )


def test_cmyk_becomes_rgb(tmp_path):
    where = fill(tmp_path / "t", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="JPEG", quality=100)
    assert first(Folder(where, size=8, val=1)).float().mean((1, 2)).tolist() == pytest.approx([255, 0, 0], abs=3)


# ------------------------------------------------------------------------------------------------------------- remarks


def test_broken_pictures_are_a_remark_once_they_are_known(train, caplog):
    (train / "ant" / "003.png").write_bytes(b"")
    folder = Folder(train, size=8)
    assert folder.remarks() == []
    with caplog.at_level(logging.WARNING, "finefuse"):
        folder.splits(0)
    assert folder.remarks() == [f"{train}: 1 of 60 images can't be read and are left out: ant/003.png"]
    assert "1 of 60 images can't be read and are left out: ant/003.png" in caplog.text
