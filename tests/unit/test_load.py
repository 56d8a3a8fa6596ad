"""Contention is measured."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from finefuse.engine.measure import load
from finefuse.engine.measure.cost import Stopwatch
from finefuse.engine.measure.load import Load

START = Load(clock=100.0, own=50.0, waited=5.0, busy=1000.0)


def later(clock, own, waited, others=0.0):
    return Load(100.0 + clock, 50.0 + own, None if waited is None else 5.0 + waited, 1000.0 + own + others)


@pytest.mark.parametrize(
    ("now", "contended"),
    [
        (later(10, own=10, waited=0), False),
        (later(10, own=10, waited=0, others=1.9), False),  # a tenth of two processors is 2 s
        (later(10, own=10, waited=0, others=2.1), True),
        (later(10, own=8, waited=2), True),  # it waited for a processor
        (later(10, own=1, waited=0), False),  # it slept, and nothing was in its way
        (later(10, own=30, waited=1), False),  # three threads
        (later(0.1, own=0.1, waited=0, others=0.1), False),  # ticks are too coarse to tell
        (later(0.1, own=0.05, waited=0.05), True),
        (later(10, own=10, waited=None), False),
        (later(10, own=4, waited=None), True),  # where the system doesn't count, what is not own is waiting
    ],
)
def test_others_are_noticed_by_waiting_and_by_what_they_keep_busy(now, contended):
    assert START.contended(now, processors=2) is contended


@pytest.mark.skipif(load._waited() is None, reason="the kernel doesn't count")
def test_one_process_beside_others_is_contended():
    """More of them than there are processors, whatever else the machine does."""
    burn = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(burn) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        with Stopwatch("cpu") as watch:
            while watch._start.own + 0.4 > Load.now().own:
                pass
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert watch.contended
    assert watch.seconds >= watch.cpu_seconds > 0.3
