"""The cache of decoded images: made once, whole or not at all, larger than memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch

from finefuse import FinefuseError, files
from finefuse_zoo.datasets import _cache
from finefuse_zoo.datasets.folder import Folder
from helpers.folders import ids, parts


def test_pictures_are_decoded_once(train, test, monkeypatch):
    Folder(train, test, size=8).splits(0)
    monkeypatch.setattr(_cache, "attempt", None)
    assert len(Folder(train, test, size=8, shots=2).splits(1).train) == 6
    with pytest.raises(TypeError):
        Folder(train, test, size=9).splits(0)


def test_a_changed_picture_is_another_fingerprint_and_decoded_anew(make, train):
    folder = Folder(train, size=8)
    before, old = folder.fingerprint(), folder.splits(0)
    make.picture(999).save(train / "ant" / "000.png")
    assert folder.fingerprint() != before
    new = folder.splits(0)
    assert len(ids(old.train) ^ ids(new.train) | ids(old.val) ^ ids(new.val) | ids(old.test) ^ ids(new.test)) == 2


def test_what_was_read_once_is_not_read_again_by_the_fingerprint(train, monkeypatch):
    monkeypatch.setattr(files, "RECENT", -1)
    folder = Folder(train, size=8)
    first = folder.fingerprint()
    monkeypatch.setattr(files, "_digest", None)
    assert folder.fingerprint() == first
    os.utime(train / "ant" / "000.png", (1e9, 1e9))
    with pytest.raises(TypeError):
        folder.fingerprint()


def test_a_file_written_just_now_is_not_trusted_by_its_time(make, train):
    folder, file = Folder(train, size=8), train / "ant" / "000.png"
    first, status = folder.fingerprint(), file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder.fingerprint() != first


def test_writing_to_the_tensors_leaves_the_cache_alone(train, test):
    first = Folder(train, test, size=8).splits(0)
    before = first.test.x.clone()
    first.test.x.zero_()
    assert torch.equal(Folder(train, test, size=8).splits(0).test.x, before)


def test_more_than_fits_is_chosen_into_a_file_with_the_same_rows(train, test, monkeypatch, cache):
    small = Folder(train, test, size=8).splits(0)
    monkeypatch.setattr(_cache, "LARGE", 100)
    monkeypatch.setattr(_cache, "BLOCK", 1000)
    for _ in range(2):
        large = Folder(train, test, size=8).splits(0)
        for one, two in zip(parts(small), parts(large), strict=True):
            assert torch.equal(one.x, two.x)
    assert len(list(cache.glob("*/*-*/pixels.u8"))) == 2


def test_a_file_larger_than_memory_can_be_mapped_and_written_to_in_private(tmp_path):
    size = 2 * psutil.virtual_memory().total // 192 * 192
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
    x = _cache._mapped(tmp_path / "sparse", (size // 192, 3, 8, 8))
    x[-1] = 7
    assert int(x[-2:].sum()) == 7 * 192
    assert not _cache._mapped(tmp_path / "sparse", (size // 192, 3, 8, 8))[-1].any()


def test_small_blocks_make_the_same_cache(train, monkeypatch):
    whole = Folder(train, size=8).splits(0)
    monkeypatch.setenv("FINEFUSE_CACHE", f"{train.parent}/other")
    monkeypatch.setattr(_cache, "BLOCK", 7 * 192)
    assert torch.equal(Folder(train, size=8).splits(0).train.x, whole.train.x)


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(train, cache, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_cache, "_settle", killed)
        with pytest.raises(KeyboardInterrupt):
            Folder(train, size=8).splits(0)
    assert list((cache / "drafts").iterdir()) == []
    splits = Folder(train, size=8).splits(0)
    (made,) = cache.glob("*/*/pixels.u8")
    left = cache / "drafts" / f"{made.parent.name}.dead"
    left.mkdir()
    made.parent.rename(cache / "elsewhere")
    assert torch.equal(Folder(train, size=8).splits(0).train.x, splits.train.x)
    assert not left.exists()


def test_two_who_decode_at_once_agree_and_one_of_them_waits(train, cache, monkeypatch):
    attempts = []
    real = _cache.attempt
    monkeypatch.setattr(_cache, "attempt", lambda *args: attempts.append(1) or real(*args))
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda seed: Folder(train, size=8).splits(seed), [0, 0])
    assert torch.equal(one.train.x, two.train.x)
    assert len(attempts) == 60
    assert list((cache / "drafts").iterdir()) == []


def test_a_writer_that_could_not_wait_does_no_harm(train, cache, monkeypatch):
    first = Folder(train, size=8).splits(0)
    (made,) = cache.glob("*/*/pixels.u8")
    _cache._rename(made.parent, made.parent)  # onto what another writer has put there
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
    made.parent.rename(cache / "elsewhere")
    assert torch.equal(Folder(train, size=8).splits(0).train.x, first.train.x)


def test_a_cut_cache_file_is_an_error_that_says_what_to_delete(train, cache):
    Folder(train, size=8).splits(0)
    (file,) = cache.glob("*/*/pixels.u8")
    file.write_bytes(b"short")
    with pytest.raises(FinefuseError, match=f"{file} is not whole; delete {file.parent} and run again"):
        Folder(train, size=8).splits(0)


def test_a_cache_folder_that_can_not_be_written_is_named(train, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FinefuseError, match=r"file/cache: decoded images can't be kept here: .*; set FINEFUSE_CACHE"):
        Folder(train, size=8).splits(0)
