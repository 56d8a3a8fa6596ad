"""Runs that end early: broken disks, locks, signals, killed drivers and workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.engine.store.artifacts import Artifacts
from finefuse.errors import StoreError
from finefuse.records import Records
from finefuse_zoo.executors.local import Local
from helpers.runs import FIXTURES, done, rows, statuses, steady
from helpers.waiting import eventually, gone


def test_a_second_driver_is_refused(fake: ModuleType, tmp_path: Path) -> None:
    executor = fake.Inline()
    with Records(tmp_path / "out").lock(), pytest.raises(StoreError, match="another run"):
        fake.run(fake.plan(fake.job("a")), tmp_path, executor)
    assert executor.crew is None
    assert statuses(fake.run(fake.plan(fake.job("a")), tmp_path)) == {"a": "ok"}


@pytest.mark.parametrize("parallel", [False, True])
def test_a_store_that_breaks_ends_the_run_and_keeps_what_is_finished(
    fake: ModuleType, tmp_path: Path, parallel: bool
) -> None:
    executor = Local(preload=False) if parallel else fake.Inline()
    plan = fake.plan(fake.job("a"), fake.job("b", "breaks_store", str(tmp_path / "store")), fake.job("c"))
    with pytest.raises(StoreError, match=r"the store can't be written to: .*set FINEFUSE_STORE"):
        fake.run(plan, tmp_path, executor, workers=1)
    assert statuses(rows(tmp_path)) == {"a": "ok"}
    (tmp_path / "store" / "drafts").unlink()
    assert set(statuses(fake.run(plan, tmp_path, call=fake.call_fine)).values()) == {"ok"}
    assert len(rows(tmp_path)) == 3


def test_a_full_results_folder_ends_the_run(fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Records.append

    def full(self: Records, record: dict) -> None:
        if record["label"] == "b":
            raise StoreError("records.jsonl: can't be written: No space left on device.")
        append(self, record)

    monkeypatch.setattr(Records, "append", full)
    executor = fake.Inline()
    with pytest.raises(StoreError, match="No space left"):
        fake.run(fake.plan(fake.job("a"), fake.job("b"), fake.job("c")), tmp_path, executor)
    assert executor.stopped == 1
    assert statuses(rows(tmp_path)) == {"a": "ok"}
    monkeypatch.undo()


def test_a_traceback_that_cannot_be_written_ends_the_run(fake: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tracebacks").write_text("a file")
    with pytest.raises(StoreError, match=r"key-a\.txt: can't be written: (Not a directory|File exists)"):
        fake.run(fake.plan(fake.job("a", "raises")), tmp_path)


def test_ctrl_c_stops_the_executor_and_keeps_what_is_finished(fake: ModuleType, tmp_path: Path) -> None:
    class Interrupted(fake.Inline):
        def submit(self, call, order, seconds):
            if order.job.label == "c":
                raise KeyboardInterrupt
            return super().submit(call, order, seconds)

    executor = Interrupted()
    plan = fake.plan(fake.job("a"), fake.job("b"), fake.job("c"))
    with pytest.raises(KeyboardInterrupt):
        fake.run(plan, tmp_path, executor)
    assert executor.stopped == 1
    assert statuses(rows(tmp_path)) == {"a": "ok", "b": "ok"}
    assert statuses(fake.run(plan, tmp_path)) == dict.fromkeys("abc", "ok")
    assert len(rows(tmp_path)) == 3


def drive(folder: Path, then: float = 0.3) -> subprocess.Popen[str]:
    """A driver in a process group of its own, with two workers; the last four of eight jobs take `then` seconds."""
    path = os.pathsep.join([str(FIXTURES), *sys.path])
    where = [str(folder / "out"), str(folder / "store")]
    command = [sys.executable, str(FIXTURES / "fake_run.py"), *where, "0.3", str(then)]
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_driver_ended_in_the_middle_leaves_no_process_and_loses_nothing(
    fake: ModuleType, tmp_path: Path, number: int
) -> None:
    driver = drive(tmp_path, then=600)
    assert eventually(lambda: len(rows(tmp_path)) >= 3)
    os.killpg(driver.pid, number)  # as a terminal does it
    driver.communicate()
    assert driver.returncode != 0
    assert gone(*{line["pid"] for line in fake.log(tmp_path / "store")})
    kept, plan = rows(tmp_path), fake.naps(0.3)
    assert 3 <= len(kept) < 8
    finished = {job.label for job in plan.jobs if Artifacts(tmp_path / "store").row(job.key)}
    started = len(done(fake, tmp_path, "start"))
    found = fake.run(plan, tmp_path)
    assert rows(tmp_path)[: len(kept)] == kept
    assert len(rows(tmp_path)) == 8
    assert finished.isdisjoint(done(fake, tmp_path, "start")[started:])
    assert steady(found) == steady(fake.run(fake.naps(0.3), tmp_path / "undisturbed", call=fake.call_fine))


def test_a_worker_killed_from_outside_costs_nothing(fake: ModuleType, tmp_path: Path) -> None:
    driver = drive(tmp_path)
    assert eventually(lambda: len(rows(tmp_path)) >= 2 and len(done(fake, tmp_path, "start")) > len(rows(tmp_path)))
    os.kill(fake.log(tmp_path / "store")[-1]["pid"], signal.SIGKILL)
    driver.communicate()
    assert driver.returncode == 0
    assert len(rows(tmp_path)) == 8
    assert set(statuses(rows(tmp_path)).values()) == {"ok"}
