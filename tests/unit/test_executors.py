"""The executor `local`: what happens to calls and to the processes that carry them out."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from finefuse.engine.drive.schedule import PRELOAD
from finefuse.errors import MemoryExceeded, WorkerDied
from finefuse.types import Crew
from finefuse_zoo.executors._pages import SIZE
from finefuse_zoo.executors._server import MANY
from finefuse_zoo.executors.local import Local
from helpers.waiting import eventually, gone
from helpers.workers import workers_of

FIXTURES = Path(__file__).parents[1] / "fixtures"
MIB = 1024**2
OUTSIDE = "killed from outside, perhaps by the system for want of memory"


@pytest.fixture
def local(started: Any) -> Local:
    return started(Local(preload=False), threads=3)  # type: ignore[no-any-return]


def server_of(row: dict[str, Any]) -> int:
    """The process that runs no plugin, above the one that the job was copied from."""
    return psutil.Process(row["parent"]).ppid()


def test_a_worker_does_one_call_after_the_other_each_in_a_process_of_its_own(local: Local, hostile: ModuleType) -> None:
    rows = [future.result() for future in [local.submit(hostile.fine, n, 20) for n in range(5)]]
    assert [row["order"] for row in rows] == [0, 1, 2, 3, 4]
    assert len({row["pid"] for row in rows} | {os.getpid()}) == 6
    assert len({row["parent"] for row in rows}) == 1
    assert gone(*(row["pid"] for row in rows))


def test_an_answer_may_be_larger_than_a_pipe(local: Local, hostile: ModuleType) -> None:
    assert len(local.submit(hostile.says_much, 3_000_000, 20).result()["text"]) == 3_000_000


def test_what_is_raised_comes_back_with_its_traceback(local: Local, hostile: ModuleType) -> None:
    error = local.submit(hostile.raises, 7, 20).exception()
    assert type(error) is ValueError
    assert str(error) == "no good:\n7"
    assert 'raise ValueError(f"no good' in error.__notes__[0]


def test_what_cannot_travel_is_described(local: Local, hostile: ModuleType) -> None:
    error = local.submit(hostile.raises_what_cannot_travel, 7, 20).exception()
    assert type(error) is RuntimeError
    assert "hostile.Stubborn: <exception str() failed>" in str(error)
    assert "in raises_what_cannot_travel" in error.__notes__[0]
    assert "pickle" in str(local.submit(hostile.returns_what_cannot_travel, 7, 20).exception())
    assert "SystemExit: 2" in str(local.submit(hostile.exits_politely, 2, 20).exception())
    assert local.submit(hostile.fine, 7, 20).result()["status"] == "ok"


def test_an_order_that_cannot_travel_fails_alone(local: Local, hostile: ModuleType) -> None:
    assert "pickle" in str(local.submit(hostile.fine, lambda: 0, 20).exception())
    assert "pickle" in str(local.submit(lambda order: {}, 1, 20).exception())
    assert local.submit(hostile.fine, 7, 20).result()["order"] == 7


def test_an_order_that_cannot_be_unpacked_fails_alone(local: Local, hostile: ModuleType) -> None:
    assert "from the past" in str(local.submit(hostile.fine, hostile.Unpackable(), 20).exception())
    assert local.submit(hostile.fine, 7, 20).result()["order"] == 7


@pytest.mark.parametrize(
    ("name", "arg", "how", "code"),
    [("exits", 3, "with exit code 3", 3), ("exits", 0, "with exit code 0", 0), ("segfaults", 0, "by SIGSEGV", -11)],
)
def test_a_death_costs_one_call(local: Local, hostile: ModuleType, name: str, arg: int, how: str, code: int) -> None:
    first = local.submit(hostile.fine, 0, 20).result()["pid"]
    error = local.submit(getattr(hostile, name), arg, 20).exception()
    assert isinstance(error, WorkerDied)
    assert (str(error), error.exitcode) == (f"the worker process ended {how}", code)
    assert local.submit(hostile.fine, 1, 20).result()["pid"] != first


def test_a_hang_in_c_deaf_to_sigterm_costs_its_time(local: Local, hostile: ModuleType) -> None:
    hanging = local.submit(hostile.hangs, 0, 0.3)
    with pytest.raises(TimeoutError, match=r"took longer than 0\.3 s"):
        hanging.result(30)
    assert local.submit(hostile.fine, 1, 20).result()["order"] == 1


def test_the_time_runs_from_when_a_worker_takes_the_call(local: Local, hostile: ModuleType) -> None:
    futures = [local.submit(hostile.sleeps, 0.5, 1.2) for _ in range(3)]
    assert [future.exception() for future in futures] == [None] * 3


def test_grandchildren_go_with_a_call_out_of_time(local: Local, hostile: ModuleType, tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    with pytest.raises(TimeoutError):
        local.submit(hostile.fathers, str(notes), 2).result()
    pids = [int(pid) for pid in notes.read_text().split()]
    assert len(pids) == 2
    assert gone(*pids)


def test_grandchildren_go_with_a_worker_that_dies(local: Local, hostile: ModuleType, tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    with pytest.raises(WorkerDied, match="SIGSEGV"):
        local.submit(hostile.fathers_and_dies, str(notes), 20).result()
    assert gone(int(notes.read_text()))


def test_memory_is_limited(started: Any, hostile: ModuleType) -> None:
    executor = started(Local(preload=False), workers=2, memory=200 * MIB)
    eating, fine = executor.submit(hostile.eats_memory, 0, 60), executor.submit(hostile.sleeps, 0.5, 60)
    with pytest.raises(MemoryExceeded, match=r"took more than 0\.195 GiB of memory") as stopped:
        eating.result()
    assert stopped.value.peak_memory is not None
    assert stopped.value.peak_memory > 200 * MIB
    assert pickle.loads(pickle.dumps(stopped.value)).peak_memory == stopped.value.peak_memory
    assert fine.result()["status"] == "ok"


def test_memory_of_children_counts(started: Any, hostile: ModuleType) -> None:
    executor = started(Local(preload=False), memory=200 * MIB)
    with pytest.raises(MemoryExceeded):
        executor.submit(hostile.feeds_a_child, 300 * MIB, 60).result()


def test_the_peak_of_memory_does_not_depend_on_what_a_worker_freed_before(started: Any, hostile: ModuleType) -> None:
    executor = started(preload=("finefuse.engine.measure.cost",))
    first, _, again = (executor.submit(hostile.grows, size * MIB, 120).result()["peak"] for size in (60, 200, 60))
    if first is None:
        pytest.skip("the system does not count it")
    assert first > 55 * MIB
    assert abs(first - again) < 5 * MIB


@pytest.mark.skipif(not SIZE.exists(), reason="a system without large pages")
@pytest.mark.parametrize(("calls", "some"), [(MANY - 1, False), (MANY, True)])
def test_memory_is_moved_to_large_pages_where_many_jobs_share_it(
    started: Any, hostile: ModuleType, calls: int, some: bool
) -> None:
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 1):
        pytest.skip("a system that can't move memory to large pages")
    executor = started(preload=("large",), calls=calls)
    assert (executor.submit(hostile.large_pages, 0, 60).result()["kB"] > 0) is some


def test_a_job_computes_with_several_threads_after_the_fork(started: Any, hostile: ModuleType) -> None:
    executor = started(threads=2, preload=PRELOAD)
    row = executor.submit(hostile.multiplies, 0, 120).result()
    assert row["threads"] == 2


def test_no_gpu_is_touched_before_the_fork(started: Any, hostile: ModuleType) -> None:
    executor = started(preload=PRELOAD)
    row = executor.submit(hostile.before_anything, 0, 120).result()
    assert row["cuda"] is False
    assert row["threads"] == 1


def test_one_kill_from_outside_is_forgiven(local: Local, hostile: ModuleType, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    row = local.submit(hostile.killed_the_first_time, str(mark), 20).result()
    assert row["status"] == "ok"
    assert row["pid"] != int(mark.read_text())


def test_two_kills_are_not(local: Local, hostile: ModuleType) -> None:
    error = local.submit(hostile.kills_itself, 0, 20).exception()
    assert isinstance(error, WorkerDied)
    assert error.exitcode == -signal.SIGKILL
    assert OUTSIDE in str(error)


def test_two_kills_within_a_second_say_what_happened(local: Local, hostile: ModuleType) -> None:
    """Of the job, of what it was copied from, and of the worker's own process."""
    for call in (hostile.kills_itself, hostile.kills_its_parent, hostile.kills_its_server):
        error = local.submit(call, 0, 20).exception()
        assert str(error) == f"the worker process ended by SIGKILL: {OUTSIDE}"
        assert local.submit(hostile.fine, 1, 20).result()["order"] == 1


@pytest.mark.parametrize("which", ["the worker", "its template"])
def test_what_is_killed_while_idle_is_replaced(local: Local, hostile: ModuleType, which: str) -> None:
    row = local.submit(hostile.fine, 0, 20).result()
    for wait in (lambda _: True, gone):  # before and after it has ended
        first = server_of(row) if which == "the worker" else row["parent"]
        os.kill(first, signal.SIGKILL)
        assert wait(first)
        row = local.submit(hostile.fine, 1, 20).result()
        assert first not in (row["parent"], server_of(row))


def test_the_start_of_a_worker_is_no_part_of_a_jobs_time(started: Any, hostile: ModuleType) -> None:
    """Neither of the first one nor of those that replace it: each takes longer than a job may."""
    executor = started(preload=("slow_to_import",))
    for _ in range(2):
        assert executor.submit(hostile.fine, 0, 1.0).result()["order"] == 0
        assert isinstance(executor.submit(hostile.exits, 3, 1.0).exception(), WorkerDied)
        os.kill(server_of(executor.submit(hostile.fine, 0, 1.0).result()), signal.SIGKILL)


def test_what_a_job_starts_ends_with_it_wherever_it_hides(local: Local, hostile: ModuleType, tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    assert local.submit(hostile.leaves_daemons, str(notes), 20).result()["status"] == "ok"
    pids = [int(pid) for pid in notes.read_text().split()]
    assert len(pids) == 2
    assert gone(*pids, within=1)  # before the row is there, but for an entry in the table


def test_a_copy_of_a_job_says_nothing(local: Local, hostile: ModuleType) -> None:
    assert local.submit(hostile.forks_and_returns, 5, 20).result()["order"] == 5
    assert local.submit(hostile.fine, 6, 20).result()["order"] == 6


def test_a_worker_is_a_session_of_its_own_with_its_threads_pinned(local: Local, hostile: ModuleType) -> None:
    row = local.submit(hostile.group, 0, 20).result()
    assert row["pid"] == row["group"] == row["session"] != os.getsid(0)
    assert row["omp"] == "3"
    assert row["torch"] is False


def test_torch_is_imported_with_its_threads_before_the_first_call(started: Any, hostile: ModuleType) -> None:
    executor = started(threads=2, preload=("torch",))
    assert executor.submit(hostile.group, 0, 60).result()["torch"] is True
    row = executor.submit(hostile.torch_threads, 0, 60).result()
    assert (row["intra"], row["inter"]) == (2, 1)


def test_stop_leaves_no_process_and_ends_what_runs(hostile: ModuleType, tmp_path: Path) -> None:
    executor = Local(preload=False)
    executor.start(Crew(workers=2, threads=1, memory=0))
    notes = tmp_path / "pids"
    busy, waiting = executor.submit(hostile.fathers, str(notes), 600), executor.submit(hostile.hangs, 0, 600)
    queued = executor.submit(hostile.fine, 0, 600)
    assert eventually(notes.exists)
    pids = [int(pid) for pid in notes.read_text().split()] + workers_of(os.getpid())
    assert len(pids) >= 4
    executor.stop()
    executor.stop()
    assert gone(*pids)
    assert isinstance(busy.exception(), WorkerDied)
    assert isinstance(waiting.exception(), WorkerDied)
    assert queued.cancelled()


def test_stop_before_start_and_before_any_call_is_nothing() -> None:
    executor = Local()
    executor.stop()
    executor.start(Crew(workers=2, threads=1, memory=0))
    executor.stop()
    assert workers_of(os.getpid()) == []


def test_what_plugins_print_goes_to_stderr(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import hostile\n"
        "from finefuse.types import Crew\n"
        "from finefuse_zoo.executors.local import Local\n"
        "if __name__ == '__main__':\n"
        "    executor = Local(preload=False)\n"
        "    executor.start(Crew(1, 1, 0))\n"
        "    print(executor.submit(hostile.prints, 1, 20).result()['order'])\n"
        "    executor.stop()\n"
    )
    done = _python(script)
    assert (done.stdout, sorted(done.stderr.split("\n"))) == ("1\n", ["", "said 1", "written"])


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """No worker runs it again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import hostile\n"
        "from finefuse.types import Crew\n"
        "from finefuse_zoo.executors.local import Local\n"
        "print('once')\n"
        "executor = Local(preload=False)\n"
        "executor.start(Crew(1, 1, 0))\n"
        "print(executor.submit(hostile.fine, 1, 20).result()['order'])\n"
        "executor.stop()\n"
    )
    assert _python(script).stdout == "once\n1\n"


def test_a_worker_that_cannot_start_says_so(started: Any, hostile: ModuleType, capfd: Any) -> None:
    executor = started(preload=("no_such_module",))
    error = executor.submit(hostile.fine, 1, 20).exception()
    assert str(error) == "no worker process could start: it ended with exit code 1; see what it said above"
    assert "No module named 'no_such_module'" in capfd.readouterr().err


def _python(script: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(FIXTURES), *sys.path])
    return subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120
    )
