from __future__ import annotations

import errno
import gc
import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import finefuse
from finefuse.errors import FinefuseError, StoreError
from finefuse.records import Records
from helpers.rows_on_disk import filled, full_disk, row

HOLDER = """
import sys
from pathlib import Path
from finefuse.records import Records
with Records(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


# ---------------------------------------------------------------------------------------------- writing and reading


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    records = filled(folder, 3)
    assert records.read()[0] == [row(0), row(1), row(2)]
    assert Records(folder).read() == records.read()
    assert records.file.read_bytes().count(b"\n") == 3


def test_nothing_was_written_yet(tmp_path: Path) -> None:
    records = Records(tmp_path / "none")
    assert records.read()[0] == []
    assert records.read_plan() is None
    assert not records.folder.exists()


def test_a_row_is_one_write_to_an_appending_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    written: list[bytes] = []
    real_open, real_write = os.open, os.write

    def spy_open(path: Path, flags: int, mode: int) -> int:
        opened.append(flags)
        return real_open(path, flags, mode)

    def spy_write(file: int, data: bytes) -> int:
        written.append(data)
        return real_write(file, data)

    monkeypatch.setattr(os, "open", spy_open)
    monkeypatch.setattr(os, "write", spy_write)
    filled(tmp_path, 2)
    assert [json.loads(data) for data in written] == [row(0), row(1)]
    assert all(data.endswith(b"\n") for data in written)
    assert all(flags & os.O_APPEND for flags in opened)


@pytest.mark.parametrize("value", [1e-300, -0.0, 2**60, "\n\r\u2028 é 字 \x00", "\udc80", {"a": [1, None, True]}])
def test_values_survive(tmp_path: Path, value: object) -> None:
    records = Records(tmp_path)
    records.append(row(0, value=value))
    records.append(row(1))
    assert records.read()[0] == [row(0, value=value), row(1)]


def test_nan_and_infinity_survive(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append(row(0, a=math.nan, b=math.inf))
    (back,), _ = records.read()
    assert math.isnan(back["a"])
    assert back["b"] == math.inf


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_it_was(tmp_path: Path, enabled: bool) -> None:
    records = filled(tmp_path, 2)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        records.read()
        assert gc.isenabled() is enabled
        records.file.write_text("[]\n{}\n")
        assert len(records.read()[1]) == 2
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_huge_rows(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append(row(0, traceback="x" * 10_000_000))
    records.append(row(1))
    assert [r["n"] for r in records.read()[0]] == [0, 1]
    assert len(records.read()[0][0]["traceback"]) == 10_000_000


# ---------------------------------------------------------------------------------------------- torn and damaged files


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_kill_at_any_byte_costs_at_most_the_last_row(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "records.jsonl"
    file.unlink(missing_ok=True)
    records = filled(tmp_path, 3)
    whole = file.read_bytes()
    size = data.draw(st.integers(0, len(whole)))
    os.truncate(file, size)
    kept = whole[:size].count(b"\n")
    if whole[size : size + 1] == b"\n":
        kept += 1  # only the newline is gone
    assert records.read()[0] == [row(i) for i in range(kept)]
    Records(tmp_path).append(row(9, text="é"))
    assert records.read()[0] == [*(row(i) for i in range(kept)), row(9, text="é")]
    assert file.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("tail", [b"\0\0\0\0", b"\xff\xfe", b'{"cell": "c", "key"', b"[1, 2]", b"17", b"   "])
def test_a_torn_tail_is_passed_over_and_then_cut_off(tmp_path: Path, tail: bytes) -> None:
    records = filled(tmp_path, 1)
    with records.file.open("ab") as file:
        file.write(tail)
    assert records.read()[0] == [row(0)]
    assert records.file.read_bytes().endswith(tail)  # reading changes nothing
    records.append(row(1))
    assert records.read()[0] == [row(0), row(1)]
    assert tail not in records.file.read_bytes()


def test_a_file_that_is_nothing_but_a_torn_line(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.file.write_bytes(b'{"cell": "c", ')
    assert records.read()[0] == []
    records.append(row(0))
    assert records.read()[0] == [row(0)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"cell": "c", "ke', "is not a JSON object"),
        (b"", "is not a JSON object"),
        (b"[1]", "is not a JSON object"),
        (b"17", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"\xff\xfe\x00", "is not a JSON object"),
        (b"[" * 100_000, "is not a JSON object"),
        (b'{"a": ' + b"[" * 100_000, "is not a JSON object"),
        (b"1" * 5_000, "is not a JSON object"),
        (b'{"cell": "a", "key": "b"}, {"cell": "c", "key": "d"}', "is not a JSON object"),
        (b"{}", "is not a row of finefuse: it has no cell and no key and no kind"),
    ],
)
def test_a_damaged_line_is_named_and_costs_no_other(tmp_path: Path, line: bytes, complaint: str) -> None:
    records = filled(tmp_path, 3)
    lines = records.file.read_bytes().splitlines(keepends=True)
    content = b"".join([lines[0], line + b"\n", lines[2]])
    records.file.write_bytes(content)
    rows, (refused,) = records.read()
    assert rows == [row(0), row(2)]
    assert refused.startswith(f"{records.file}:2: {complaint}")
    assert records.file.read_bytes() == content


@pytest.mark.parametrize("within", ["numbers", "n"])
def test_lines_are_never_joined(tmp_path: Path, within: str) -> None:
    """Two rows on one line, and then one over two lines: as many rows as lines, if they are joined by commas."""
    records = filled(tmp_path, 2)
    one, two = (json.dumps(row(n)) for n in (2, 3))
    head, tail = json.dumps(row(4, numbers=[1, 2])).split(f'"{within}": ', 1)
    half = len(tail) // 2 if within == "n" else tail.index("1") + 1
    broken = [f'{head}"{within}": {tail[:half]}', tail[half:].removeprefix(", ")]
    with records.file.open("a") as file:
        file.write("\n".join([f"{one},{two}", *broken, json.dumps(row(5))]) + "\n")
    rows, refused = records.read()
    assert rows == [row(0), row(1), row(5)]
    assert [sentence.removeprefix(f"{records.file}:")[:2] for sentence in refused] == ["3:", "4:", "5:"]


def test_records_that_are_a_directory(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").mkdir()
    with pytest.raises(StoreError, match="can't be read: Is a directory"):
        Records(tmp_path).read()
    with pytest.raises(StoreError, match="can't be written: Is a directory"):
        Records(tmp_path).append(row(0))


# ---------------------------------------------------------------------------------------------- disks


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_one_sentence_and_leaves_whole_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    records = filled(tmp_path, 2)
    before = records.file.read_bytes()
    with monkeypatch.context() as patch:
        full_disk(patch, call)
        with pytest.raises(StoreError, match=r"records.jsonl: can't be written: No space left on device") as error:
            records.append(row(2))
    assert isinstance(error.value, FinefuseError)
    assert str(tmp_path) in str(error.value)
    assert records.file.read_bytes() == before
    records.append(row(3))
    assert [r["n"] for r in records.read()[0]] == [0, 1, 3]


def test_a_half_written_row_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = filled(tmp_path, 1)
    before = records.file.read_bytes()
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: real_write(file, data[:10]))
        with pytest.raises(StoreError, match="No space left on device"):
            records.append(row(1))
    assert records.file.read_bytes() == before


def test_what_can_not_be_taken_back_is_mended_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = filled(tmp_path, 1)
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: real_write(file, data[:10]))
        full_disk(patch, "ftruncate")
        with pytest.raises(StoreError, match="No space left on device"):
            records.append(row(1))
    assert not records.file.read_bytes().endswith(b"\n")
    assert records.read()[0] == [row(0)]
    records.append(row(2))
    assert records.read()[0] == [row(0), row(2)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_full(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left on device"):
        Records(tmp_path).append(row(0))


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions don't bind root")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    records = Records(tmp_path)
    with pytest.raises(StoreError, match="can't be written: Permission denied"):
        records.append(row(0))
    with pytest.raises(StoreError, match="can't be written: Permission denied"):
        records.write_plan("s", [])
    with pytest.raises(StoreError, match="can't be written: Permission denied"), records.lock():
        pass


def test_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    with pytest.raises(StoreError, match=r"records.jsonl: can't be written: Read-only file system"):
        Records(tmp_path).append(row(0))
    with pytest.raises(StoreError, match="lock: can't be written: Read-only file system"), Records(tmp_path).lock():
        pass


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    records = Records(tmp_path / "out")
    with pytest.raises(StoreError, match="can't be written: File exists"):
        records.append(row(0))
    with pytest.raises(StoreError, match="can't be written"):
        records.write_plan("s", [])
    with pytest.raises(StoreError, match="can't be written"), records.lock():
        pass


# ---------------------------------------------------------------------------------------------- the lock


def holder_of(folder: Path) -> subprocess.Popen[str]:
    source = str(Path(finefuse.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_driver_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    with holder_of(tmp_path) as process:
        with pytest.raises(StoreError, match=rf"another run \(process {process.pid}\) is writing here"):
            Records(tmp_path).lock().__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Records(tmp_path).lock():
        assert (tmp_path / ".holder").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / ".holder").exists()


def test_a_second_run_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with Records(tmp_path).lock(), pytest.raises(StoreError, match=f"process {os.getpid()}"):
        Records(tmp_path).lock().__enter__()
    with Records(tmp_path).lock():
        pass


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Records(tmp_path).lock():
        raise KeyError
    with Records(tmp_path).lock():
        filled(tmp_path, 1)
    assert len(Records(tmp_path).read()[0]) == 1


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match="can't be locked: No locks available"), Records(tmp_path).lock():
        pass
