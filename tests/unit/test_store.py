from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from finefuse.engine.order import Order
from finefuse.engine.store.artifacts import ABANDONED, Artifacts, default_store
from finefuse.engine.store.origin import job_of, origin_of
from finefuse.errors import StoreError
from finefuse.types import Job, JobKind, Ref, Settings
from helpers.rows_on_disk import row

ADDRESS = "ab12" * 8


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "store")


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """The disk takes no file above `size` bytes: the nearest thing to a full one that needs no mount."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(store: Artifacts) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_what_is_saved_comes_back_with_the_same_bits(store: Artifacts) -> None:
    weights = {"w": torch.randn(3, 4), "half": torch.randn(2).bfloat16(), "count": torch.tensor(7)}
    outputs = {"val": torch.randn(5, 2), "test": torch.tensor([[float("nan"), float("inf")]])}
    assert not store.has(ADDRESS)
    store.save(ADDRESS, {"seconds": 1.5}, weights=weights, outputs=outputs)
    assert store.has(ADDRESS)
    assert store.meta(ADDRESS) == {"seconds": 1.5}
    for saved, loaded in ((weights, store.weights(ADDRESS)), (outputs, store.outputs(ADDRESS))):
        assert saved.keys() == loaded.keys()
        for name, tensor in saved.items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(loaded[name].nan_to_num(7), tensor.nan_to_num(7))


@pytest.mark.parametrize(
    ("kind", "fused", "trials"), [("fuse", (("m", "a1"),), ()), ("tune", (), ("a1",)), ("trial", (), ("a1",))]
)
def test_an_origin_without_names_for_its_inputs_is_read(
    kind: JobKind, fused: tuple[tuple[str, str], ...], trials: tuple[str, ...]
) -> None:
    job = Job(kind, Ref("cnn-s"), fused=fused, trials=trials)
    kept = origin_of(Order(job, "s", Settings(), (), "cpu", "store", ()))["job"]
    assert job_of(json.loads(json.dumps(kept))) == job
    former = {name: value for name, value in kept.items() if name not in ("fused", "trials", "timed")}
    assert job_of(json.loads(json.dumps({**former, "members": [["m", "a1"]]}))) == job


def test_tensors_that_share_or_stride_their_storage_are_saved_apart(store: Artifacts) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tied = {"a": whole, "b": whole, "t": whole.T, "column": whole[:, 1], "grad": whole.clone().requires_grad_()}
    store.save(ADDRESS, {}, weights=tied)
    loaded = store.weights(ADDRESS)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tied.items())
    assert not any(tensor.requires_grad for tensor in loaded.values())


def test_a_second_writer_changes_nothing(store: Artifacts) -> None:
    store.save(ADDRESS, {"by": "first"}, weights={"w": torch.zeros(2)})
    store.save(ADDRESS, {"by": "second"}, weights={"w": torch.ones(2)})
    assert store.meta(ADDRESS) == {"by": "first"}
    assert store.weights(ADDRESS)["w"].sum() == 0
    assert files(store) == [
        f"ab/{ADDRESS}/{name}" for name in ("digests.json", "meta.json", "origin.json", "weights.safetensors")
    ]


def test_a_writer_overtaken_between_look_and_rename_is_harmless(
    store: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(ADDRESS, {"by": "first"})
    monkeypatch.setattr(Artifacts, "has", lambda self, address: False)
    store.save(ADDRESS, {"by": "second"})
    assert store.meta(ADDRESS) == {"by": "first"}
    assert files(store) == [f"ab/{ADDRESS}/{name}.json" for name in ("digests", "meta", "origin")]


def test_many_writers_at_once(store: Artifacts) -> None:
    errors: list[Exception] = []

    def write(n: int) -> None:
        try:
            store.save(ADDRESS, {"by": n}, weights={"w": torch.full((100,), float(n))})
            store.save_row("key", row(n, key="key"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert store.weights(ADDRESS)["w"].eq(store.meta(ADDRESS)["by"]).all()
    assert store.row("key") is not None
    assert len(files(store)) == 5


def test_rows(store: Artifacts) -> None:
    assert store.row("key 1") is None
    store.save_row("key 1", row(1, **{"test.nll": float("nan")}))
    store.save_row("key 1", row(1, **{"test.nll": 0.1}))
    assert store.row("key 1") == row(1, **{"test.nll": 0.1})
    assert files(store) == ["rows/ke/key 1.json"]


def test_a_row_is_not_believed_that_is_not_what_was_kept(store: Artifacts) -> None:
    store.save_row("key 1", row(1, **{"test.accuracy": 0.5}))
    path = store.root / "rows/ke/key 1.json"
    kept = path.read_text()
    for content, sentence in [
        (kept.replace("0.5", "1.0"), "is not what was kept"),
        (kept.replace("cell 1", "cell 2"), "is not what was kept"),
        (json.dumps(row(1)), "is not what was kept"),
        ("[]", "is not what was kept"),
        ("{", "can't be read"),
        ("[" * 100_000, "can't be read"),
    ]:
        path.write_text(content)
        with pytest.raises(StoreError, match=rf"key 1.json: {sentence}"):
            store.row("key 1")


def test_a_row_of_another_key_or_one_that_contradicts_itself_is_not_believed(store: Artifacts) -> None:
    store.save_row("key 2", row(1))
    with pytest.raises(StoreError, match=r"key 2.json: is the row of another key"):
        store.row("key 2")
    store.save_row("key 1", row(1))
    (store.root / "rows/ke/key 1.json").rename(store.root / "rows/ke/key 3.json")
    with pytest.raises(StoreError, match=r"key 3.json: is the row of another key"):
        store.row("key 3")
    store.save_row("key 4", row(4, seconds="long"))
    with pytest.raises(StoreError, match=r"key 4.json: has 'long' as `seconds`"):
        store.row("key 4")


@pytest.mark.parametrize("read", [Artifacts.meta, Artifacts.weights, Artifacts.outputs])
def test_what_is_not_there_is_said(store: Artifacts, read) -> None:
    with pytest.raises(StoreError, match=rf"{ADDRESS}.*: not in the store"):
        read(store, ADDRESS)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("meta.json", Artifacts.meta),
        ("weights.safetensors", Artifacts.weights),
        ("outputs.safetensors", Artifacts.outputs),
    ],
)
def test_what_is_damaged_is_said(store: Artifacts, name: str, read) -> None:
    tensors = {"w": torch.ones(9)}
    store.save(ADDRESS, {"seconds": 1.5}, weights=tensors, outputs=tensors)
    assert store.intact(ADDRESS)
    path = store.root / "ab" / ADDRESS / name
    whole = path.read_bytes()
    for damaged in (whole[:-4], whole[:-1] + bytes([whole[-1] ^ 128]), b""):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{name}: is damaged"):
            read(store, ADDRESS)
        assert not store.intact(ADDRESS)
    path.unlink()
    assert not store.intact(ADDRESS)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"meta.json": "00", "origin.json": "00"}'])
def test_damaged_digests_vouch_for_nothing(store: Artifacts, content: str) -> None:
    store.save(ADDRESS, {"seconds": 1.5})
    (store.root / "ab" / ADDRESS / "digests.json").write_text(content)
    assert not store.intact(ADDRESS)
    with pytest.raises(StoreError, match=rf"{ADDRESS}.*: (is damaged|can't be read)"):
        store.meta(ADDRESS)


def test_what_is_discarded_is_gone_and_can_be_kept_again(store: Artifacts) -> None:
    store.save(ADDRESS, {"by": "first"})
    store.discard(ADDRESS)
    assert not store.has(ADDRESS)
    assert files(store) == []
    store.save(ADDRESS, {"by": "second"})
    assert store.meta(ADDRESS) == {"by": "second"}


def test_what_a_former_version_kept_without_digests_is_not_there_and_makes_room(store: Artifacts) -> None:
    store.save(ADDRESS, {"by": "former"}, weights={"w": torch.zeros(2)})
    (store.root / "ab" / ADDRESS / "digests.json").unlink()
    assert not store.has(ADDRESS)
    store.save(ADDRESS, {"by": "now"})
    assert store.meta(ADDRESS) == {"by": "now"}
    assert store.intact(ADDRESS)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(store: Artifacts) -> None:
    with small_files(1000), pytest.raises(StoreError, match=r"store: the store can't be written to: .*FINEFUSE_STORE"):
        store.save(ADDRESS, {}, weights={"w": torch.zeros(10_000)})
    with small_files(10), pytest.raises(StoreError, match="can't be written to"):
        store.save_row("k1", row(1, reason="x" * 100))
    assert not store.has(ADDRESS)
    assert store.row("k1") is None
    assert files(store) == []


def test_a_store_that_is_no_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Artifacts(tmp_path / "file" / "store")
    assert not store.has(ADDRESS)
    for save in (lambda: store.save(ADDRESS, {}), lambda: store.save_row("k", {})):
        with pytest.raises(StoreError, match=r"can't be written to: Not a directory"):
            save()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_store_that_refuses_is_a_sentence(store: Artifacts, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    for save in (lambda: store.save(ADDRESS, {}), lambda: store.save_row("k", {})):
        with pytest.raises(StoreError, match=f"can't be written to: {os.strerror(number)}; set FINEFUSE_STORE"):
            save()


def test_only_old_drafts_are_swept(store: Artifacts) -> None:
    store.sweep()
    store.save(ADDRESS, {})
    drafts = store.root / "drafts"
    for name in ("old", "new"):
        (drafts / name).mkdir()
        (drafts / name / "weights.safetensors").write_text("half")
    (drafts / "old-row").write_text("{")
    long_ago = time.time() - ABANDONED - 1
    for name in ("old", "old-row"):
        os.utime(drafts / name, (long_ago, long_ago))
    store.sweep()
    assert [path.name for path in drafts.iterdir()] == ["new"]
    assert store.has(ADDRESS)


def test_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINEFUSE_STORE", str(tmp_path / "mine"))
    assert default_store() == tmp_path / "mine"
    monkeypatch.delenv("FINEFUSE_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store() == tmp_path / "cache" / "finefuse" / "store"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store() == tmp_path / ".cache" / "finefuse" / "store"


def test_no_torch_until_tensors_are_read_or_written(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from finefuse.engine.store.artifacts import Artifacts;"
        f"s = Artifacts(Path({str(tmp_path)!r})); s.save('aa', dict(x=1)); s.save_row('k', dict(y=2));"
        "assert s.meta('aa') == dict(x=1) and s.intact('aa') and s.has('aa'); s.sweep();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
