"""A run interrupted or killed at any moment: the next one goes on, and the end is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

ALL = 72
RUN = ("run", "tiny.toml", "--device", "cpu", "--workers", "2", "--plugin")
FAREWELL = re.compile(r"interrupted: (\d+) of \d+ rows are kept; the same command continues from there")


@pytest.fixture(scope="session")
def undisturbed(new_place: Callable[[], Any], tiny: str, tiny_suite: str) -> bytes:
    """`scores.csv` of an undisturbed run."""
    place = new_place()
    place.write("tiny.toml", tiny_suite)
    outcome = place.run(*RUN, tiny)
    assert outcome.code == 0, outcome.err
    assert len(place.rows("results/tiny")) == ALL
    return bytes(place.scores("results/tiny"))


class Drill:
    """Runs the tiny suite in one folder, disturbed again and again; the rows that were there once must stay."""

    def __init__(self, place: Any, tiny: str, suite: str) -> None:
        self.place, self.tiny = place, tiny
        self.kept: list[dict[str, Any]] = []
        place.write("tiny.toml", suite)

    def start(self) -> subprocess.Popen[str]:
        """The run, in the background."""
        run: subprocess.Popen[str] = self.place.start(*RUN, self.tiny)
        return run

    def wait(self, run: subprocess.Popen[str], rows: int) -> None:
        """Until so many rows are on the disk."""
        while len(self.place.rows("results/tiny")) < rows:
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.005)

    def check(self) -> None:
        """Nothing is left running, nothing was lost, nothing was done twice."""
        assert self.place.empty(), self.place.processes()
        rows = self.place.rows("results/tiny")
        assert rows[: len(self.kept)] == self.kept
        assert max(Counter((row["cell"], row["key"]) for row in rows).values(), default=1) == 1
        self.kept = rows

    def finish(self) -> bytes:
        """Run undisturbed to the end; the scores."""
        outcome = self.place.run(*RUN, self.tiny)
        assert outcome.code == 0, outcome.err
        self.check()
        assert len(self.kept) == ALL
        assert {row["status"] for row in self.kept} == {"ok", "skipped"}
        return bytes(self.place.scores("results/tiny"))


@pytest.fixture
def drill(place: Any, tiny: str, tiny_suite: str) -> Drill:
    return Drill(place, tiny, tiny_suite)


def workers_of(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes, each of which leads a session of its own."""
    with suppress(psutil.Error, ProcessLookupError):  # one that ends while we look
        children = psutil.Process(run.pid).children(recursive=True)
        return [child for child in children if os.getsid(child.pid) == child.pid]
    return []


def test_disturbed_in_five_ways_a_run_ends_with_the_same_bytes(drill: Drill, undisturbed: bytes) -> None:
    ctrl_c(drill)
    ctrl_c_twice(drill)
    kill_the_driver_before_it_has_a_row(drill)
    kill_the_driver_and_a_worker(drill)
    kill_a_worker(drill)
    assert drill.finish() == undisturbed


def ctrl_c(drill: Drill) -> None:
    """As a terminal does it, to the whole group."""
    run = drill.start()
    drill.wait(run, 2)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate()
    assert (run.returncode, out) == (130, "")
    farewell = FAREWELL.fullmatch(err.splitlines()[-1])
    assert farewell, err
    assert "Traceback" not in err
    drill.check()
    assert len(drill.kept) - int(farewell[1]) in (0, 1)  # a row is on the disk before the display counts it


def ctrl_c_twice(drill: Drill) -> None:
    """By someone who can't wait."""
    run = drill.start()
    drill.wait(run, len(drill.kept) + 1)
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)
    run.communicate()
    assert run.returncode not in (0, 1)
    drill.check()


def kill_the_driver_before_it_has_a_row(drill: Drill) -> None:
    run = drill.start()
    while not workers_of(run):
        assert run.poll() is None
    run.kill()
    run.communicate()
    drill.check()


def kill_the_driver_and_a_worker(drill: Drill) -> None:
    run = drill.start()
    drill.wait(run, len(drill.kept) + 10)
    victim = workers_of(run)[0]
    run.kill()
    victim.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    drill.check()


def kill_a_worker(drill: Drill) -> None:
    """It is replaced, and its job gets another try."""
    run = drill.start()
    drill.wait(run, len(drill.kept) + 4)
    workers_of(run)[0].kill()
    err = run.communicate()[1]
    assert run.returncode == 0, err
    drill.check()
    assert len(drill.kept) == ALL


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_again_and_again(drill: Drill, undisturbed: bytes, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(8):
        run = drill.start()
        time.sleep(rng.uniform(0.1, 8))
        workers = workers_of(run) if run.poll() is None else []
        if workers and rng.random() < 0.3:
            rng.choice(workers).kill()
            time.sleep(rng.uniform(0, 2))
        run.send_signal(rng.choice([signal.SIGINT, signal.SIGKILL, signal.SIGTERM]))
        run.communicate()
        drill.check()
    assert drill.finish() == undisturbed
