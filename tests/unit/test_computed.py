"""What was computed of examples is kept once, read with its bits, and never believed unseen."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch import nn

from finefuse.engine.store import computed as module
from finefuse.engine.store.computed import Computed

ADDRESS = "ab" + "0" * 30
ROOM = 10**6


def parts(n=10, size=4, width=3):
    return torch.split(torch.randn(n, width, generator=torch.Generator().manual_seed(0)), size)


class Doubling:
    """Counts how often it is called."""

    def __init__(self, change=lambda x: x * 2):
        self.calls, self.change = 0, change

    def __call__(self, x):
        self.calls += 1
        return self.change(x)


def through(store, compute, address=ADDRESS, given=None):
    return torch.cat(list(store.each(address, given or parts(), compute)))


def entries(root):
    return sorted(path.name for path in (root / "shared").glob("??/*") if path.suffix != ".lock")


def file_of(root, address=ADDRESS):
    return root / "shared" / address[:2] / address


def size_of_one(root):
    through(Computed(root, ROOM), Doubling())
    return file_of(root).stat().st_size


def put(file, content):
    file.chmod(0o644)
    file.write_bytes(content)


def test_it_is_computed_once_and_read_with_the_same_bits(tmp_path):
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    first = through(store, compute)
    assert compute.calls == 3
    assert torch.equal(through(Computed(tmp_path, ROOM), compute), first)
    assert torch.equal(first, torch.cat(parts()) * 2)
    assert compute.calls == 3
    assert not list((tmp_path / "drafts").iterdir())


def images(kind):
    """A layer's outputs in the orders that they have in memory."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last).to(kind)
    return lambda x: layer(x[:, :, None, None].expand(-1, 2, 5, 5).to(kind).to(memory_format=torch.channels_last))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_kind_order_in_memory_and_strides_come_back(tmp_path, kind):
    compute = Doubling(images(kind))
    given = torch.split(torch.randn(7, 1), 3)
    with torch.no_grad():
        first, again = (list(Computed(tmp_path, ROOM).each(ADDRESS, given, compute)) for _ in range(2))
    assert compute.calls == 3
    for one, other in zip(first, again, strict=True):
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())
        assert torch.equal(one, other)


def test_strides_of_sizes_of_one_come_back_too(tmp_path):
    compute = Doubling(lambda x: x.as_strided((len(x), 3, 1, 1), (3, 1, 3, 3)))
    given = [part.clone() for part in parts()]
    _, again = (list(Computed(tmp_path, ROOM).each(ADDRESS, given, compute)) for _ in range(2))
    assert compute.calls == 3
    assert {part.stride() for part in again} == {(3, 1, 3, 3)}


UNLIKE = {
    "transposed": lambda x: x.T.contiguous().T,
    "expanded": lambda x: x[:, :1].expand(-1, 3),
    "integers": lambda x: x.long(),
    "other widths": lambda x: x[:, : 1 + len(x) % 3],
    "nothing": lambda x: x[:, :0],
    "complex": lambda x: x.to(torch.complex64),
}


@pytest.mark.parametrize("change", UNLIKE.values(), ids=UNLIKE)
def test_what_is_not_one_dense_row_for_each_example_is_computed_each_time(tmp_path, change):
    compute = Doubling(change)
    for _ in range(2):
        out = list(Computed(tmp_path, ROOM).each(ADDRESS, parts(), compute))
        assert all(torch.equal(one, change(x)) for one, x in zip(out, parts(), strict=True))
    assert compute.calls == 6
    assert entries(tmp_path) == []
    assert not list((tmp_path / "drafts").glob("*"))


def test_what_a_reader_writes_to_stays_its_own(tmp_path):
    compute = Doubling()
    for part in Computed(tmp_path, ROOM).each(ADDRESS, parts(), compute):
        part.zero_()
    for part in Computed(tmp_path, ROOM).each(ADDRESS, parts(), compute):
        assert part.any()
        part.zero_()
    assert torch.equal(through(Computed(tmp_path, ROOM), compute), torch.cat(parts()) * 2)
    assert compute.calls == 3


def _poisoned(content):
    """Every way in which a file can be another one."""
    yield b""
    yield b"\xff" * 5
    yield content[:-1]
    yield content + b"x"
    yield content[1:]
    for place in (0, 60, 90, len(content) - 80, len(content) - 30, len(content) - 3):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    yield content.replace(b'"shape": [3]', b'"shape": [4]')
    yield content.replace(b'"strides": [1]', b'"strides": [9]')
    yield content.replace(b'"strides": [1]', b'"strides": "x"')
    yield content.replace(b"torch.float32", b"torch.float99")
    yield content.replace(b'"shape": [3], "strides": [1]', b'"shape": [1, 3], "strides": [3, 1]')
    yield content.replace(b'"digests"', b'"digestx"')


@pytest.mark.parametrize("case", range(17))
def test_a_file_that_is_not_what_was_kept_is_computed_again(tmp_path, caplog, case):
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    good = through(store, compute)
    content = file_of(tmp_path).read_bytes()
    bad = list(_poisoned(content))
    assert len(bad) == 17
    put(file_of(tmp_path), bad[case])
    assert bad[case] != content
    with caplog.at_level(logging.WARNING, logger="finefuse"):
        assert torch.equal(through(store, compute), good)
    assert "damaged, and computed again" in caplog.text
    assert entries(tmp_path) == []
    assert torch.equal(through(store, compute), good)
    assert file_of(tmp_path).read_bytes() == content


def test_an_entry_of_other_parts_is_not_taken(tmp_path):
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    through(store, compute)
    assert torch.equal(through(store, compute, given=parts(8)), torch.cat(parts(8)) * 2)


def test_a_file_that_is_changed_while_it_is_read_gives_nothing_that_is_not_checked(tmp_path):
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    good = through(store, compute)
    reading = store.each(ADDRESS, parts(), compute)
    begun = next(reading)
    content = file_of(tmp_path).read_bytes()
    put(file_of(tmp_path), b"\1" * (len(content) - 300) + content[-300:])
    assert torch.equal(torch.cat([begun, *reading]), good)


def test_what_is_used_least_recently_makes_room(tmp_path):
    compute, store = Doubling(), Computed(tmp_path, 3 * size_of_one(tmp_path / "elsewhere"))
    names = [f"{n}{n}" + "0" * 30 for n in range(4)]
    for name in names[:3]:
        through(store, compute, name)
        time.sleep(0.002)
    through(store, compute, names[0])  # read: now the second is the oldest
    through(store, compute, names[3])
    assert entries(tmp_path) == [names[0], names[2], names[3]]


def test_one_that_is_evicted_while_it_is_read_stays_its_readers(tmp_path):
    compute, store = Doubling(), Computed(tmp_path, size_of_one(tmp_path / "elsewhere"))
    good = through(store, compute)
    reading = store.each(ADDRESS, parts(), compute)
    begun = next(reading)
    through(store, compute, "cd" + "0" * 30)
    assert entries(tmp_path) == ["cd" + "0" * 30]
    calls = compute.calls
    assert torch.equal(torch.cat([begun, *reading]), good)
    assert compute.calls == calls


@pytest.mark.parametrize(("room", "largest"), [(100, 10**6), (10**6, 100)])
def test_what_takes_too_much_room_is_not_kept(tmp_path, monkeypatch, room, largest):
    monkeypatch.setattr(module, "LARGEST", largest)
    compute, store = Doubling(), Computed(tmp_path, room)
    for _ in range(2):
        assert torch.equal(through(store, compute), torch.cat(parts()) * 2)
    assert compute.calls == 6
    assert entries(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_costs_only_time(tmp_path, caplog):
    (tmp_path / "shared").write_text("in the way")
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    with caplog.at_level(logging.WARNING, logger="finefuse"):
        assert torch.equal(through(store, compute), torch.cat(parts()) * 2)
    assert "nothing is shared" in caplog.text


def test_a_full_disk_costs_only_time(tmp_path, caplog):
    (tmp_path / "drafts").write_text("in the way")
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    with caplog.at_level(logging.WARNING, logger="finefuse"):
        assert torch.equal(through(store, compute), torch.cat(parts()) * 2)
    assert "nothing is shared" in caplog.text
    assert entries(tmp_path) == []


def test_an_error_of_the_computation_is_the_callers_and_leaves_nothing(tmp_path):
    def fails(x):
        if len(x) < 4:
            raise OSError("of its own")
        return x

    with pytest.raises(OSError, match="of its own"):
        through(Computed(tmp_path, ROOM), fails)
    assert entries(tmp_path) == []
    assert not list((tmp_path / "drafts").iterdir())
    assert torch.equal(through(Computed(tmp_path, ROOM), Doubling()), torch.cat(parts()) * 2)


def test_nobody_waits_for_ever(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    compute, store = Doubling(), Computed(tmp_path, ROOM)
    begun = store.each(ADDRESS, parts(), compute)
    next(begun)
    with caplog.at_level(logging.WARNING, logger="finefuse"):
        assert torch.equal(through(Computed(tmp_path, ROOM), Doubling()), torch.cat(parts()) * 2)
    assert "nothing is shared" in caplog.text
    list(begun)
    assert entries(tmp_path) == [ADDRESS]


def once(store, make, **how):
    return store.once(ADDRESS, parts(), make, **how)


def test_what_was_told_of_a_computation_is_kept_with_it(tmp_path):
    made = []

    def make():
        made.append(1)
        return [part * 2 for part in parts()], {"seconds": 1.5}

    assert once(Computed(tmp_path, ROOM), make, only_read=True) is None
    first, again = (once(Computed(tmp_path, ROOM), make) for _ in range(2))
    assert (first.read, again.read, len(made)) == (False, True, 1)
    assert first.told == again.told == {"seconds": 1.5}
    assert torch.equal(torch.cat(first.outputs), torch.cat(again.outputs))
    assert once(Computed(tmp_path, ROOM), make, only_read=True).read
    content = file_of(tmp_path).read_bytes()
    put(file_of(tmp_path), content.replace(b"1.5", b"0.5"))
    assert once(Computed(tmp_path, ROOM), make, only_read=True) is None
    assert not once(Computed(tmp_path, ROOM), make).read
    assert file_of(tmp_path).read_bytes() == content


def test_what_can_neither_be_kept_nor_waited_for_is_made_by_oneself(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1)
    for _ in range(2):
        assert not once(Computed(tmp_path, ROOM), lambda: ([part * 2 for part in parts()], {})).read
    assert entries(tmp_path) == []


def _another(root, log, started, go_on):
    def compute(x):
        with log.open("a") as file:
            file.write("x")
        started.set()
        go_on.wait()
        return x * 2

    through(Computed(root, ROOM), compute)


@pytest.fixture
def processes():
    context = multiprocessing.get_context("fork")
    found = []

    def start(*args):
        found.append(context.Process(target=_another, args=args))
        found[-1].start()
        return found[-1]

    start.event = context.Event
    yield start
    for process in found:
        if process.is_alive():
            process.kill()
        process.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="elsewhere no process is copied")
def test_of_two_processes_at_once_one_computes(tmp_path, processes):
    started, go_on = processes.event(), processes.event()
    both = [processes(tmp_path, tmp_path / "log", started, go_on) for _ in range(2)]
    started.wait()
    go_on.set()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "log").read_text() == "xxx"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="elsewhere no process is copied")
def test_one_that_is_killed_in_the_middle_leaves_no_lock_and_no_entry(tmp_path, processes):
    started, never, now = processes.event(), processes.event(), processes.event()
    now.set()
    killed = processes(tmp_path, tmp_path / "log", started, never)
    started.wait()
    waiting = processes(tmp_path, tmp_path / "other", started, now)
    os.kill(killed.pid, signal.SIGKILL)
    waiting.join()
    assert waiting.exitcode == 0
    assert (tmp_path / "other").read_text() == "xxx"
    compute = Doubling()
    through(Computed(tmp_path, ROOM), compute)
    assert compute.calls == 0
