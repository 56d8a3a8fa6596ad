"""What every job of `local` begins with is done once, in a process that jobs are copied from, or by each job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse_zoo.executors.local import Local
from helpers.waiting import gone
from helpers.workers import workers_of

copied = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each job prepares itself")


@pytest.fixture
def prepared(started: Any, hostile: ModuleType, tmp_path: Path) -> Callable[[str], tuple[Local, Path]]:
    """An executor whose jobs begin with something that leaves this behind, and where it notes that it was done."""
    notes = tmp_path / "notes"
    return lambda left: (started(prepare=partial(hostile.prepares_and, left, str(notes))), notes)


@copied
@pytest.mark.parametrize("harmless", ["nothing", "a hook in copies"])
def test_what_every_job_begins_with_is_done_once(prepared: Any, hostile: ModuleType, harmless: str) -> None:
    """In a process that is the same for each job, whatever those before it did."""
    executor, notes = prepared(harmless)
    rows = [executor.submit(hostile.was_prepared, n, 60).result() for n in range(3)]
    assert notes.read_text().split() == [str(rows[0]["parent"])]
    assert [row["prepared"] for row in rows] == [[f"in {rows[0]['parent']}"]] * 3


@copied
@pytest.mark.parametrize(
    "left",
    [
        *("a thread", "a child", "a file", "shared memory", "a timer", "a hook", "an audit", "a collector"),
        *("a profiler", "an error", "an exit", "a sudden end", "a crash", "its line cut"),
    ],
)
def test_where_copies_would_share_something_each_job_begins_by_itself(
    prepared: Any, hostile: ModuleType, left: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing of the attempt is left, nor said."""
    executor, notes = prepared(left)
    rows = [executor.submit(hostile.was_prepared, n, 60).result() for n in range(2)]
    assert [row["prepared"] for row in rows] == [[], []]
    assert rows[0]["parent"] == rows[1]["parent"]
    (attempted,) = map(int, notes.read_text().split())
    assert attempted != rows[0]["parent"]
    assert gone(attempted)
    assert len(workers_of(os.getpid())) == 2
    assert "Traceback" not in capfd.readouterr().err


@copied
def test_what_hangs_at_the_beginning_costs_the_time_of_one_job(started: Any, hostile: ModuleType) -> None:
    executor = started(prepare=partial(hostile.hangs, 0))
    assert isinstance(executor.submit(hostile.fine, 0, 0.5).exception(), TimeoutError)
    assert executor.submit(hostile.fine, 1, 60).result()["order"] == 1


def test_what_cannot_travel_is_left_to_the_jobs(started: Any, hostile: ModuleType) -> None:
    executor = started(prepare=lambda: None)
    assert executor.submit(hostile.fine, 1, 60).result()["order"] == 1
