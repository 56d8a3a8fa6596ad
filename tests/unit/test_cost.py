"""Timers, latency, FLOPs and the machine."""

from __future__ import annotations

import gc
import mmap
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from finefuse.engine.measure import cost, latency

counted = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux counts the peak of memory anew"
)


def grow(size: int) -> None:
    """By so many bytes for a moment, straight from the system: a process that has freed more would not grow."""
    with mmap.mmap(-1, size) as block:
        block[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)


@pytest.fixture(autouse=True)
def _nothing_freed_is_held():
    """What earlier tests left behind goes now: none of it is freed, or used again, while memory is counted here."""
    gc.collect()
    gc.disable()
    cost.begin_job("cpu")
    yield
    gc.enable()


@counted
def test_a_job_s_peak_does_not_hide_in_what_its_process_freed_before():
    freed = [bytes(100_000) for _ in range(3000)]
    above = bytes(100_000)  # keeps the heap from shrinking by itself
    del freed
    cost.begin_job("cpu")
    torch.ones(2**26).sum()
    peak = cost.peak_memory("cpu")
    assert above
    assert peak is not None
    assert 2**27 < peak < 2**31


@counted
def test_the_stopwatch_sees_the_peak_of_memory_and_forgets_the_one_before():
    with cost.Stopwatch("cpu") as large:
        grow(2**29)
    with cost.Stopwatch("cpu") as small:
        grow(2**12)
    assert large.peak_memory is not None
    assert small.peak_memory is not None
    assert 2**26 < large.peak_memory < 2**31
    assert small.peak_memory < 2**24


@counted
def test_the_peak_of_what_failed_is_known_after_it_and_not_that_of_the_job_before():
    grow(2**29)
    cost.begin_job("cpu")
    before = cost.peak_memory("cpu")
    with cost.Stopwatch("cpu"), suppress(MemoryError):
        grow(2**29)
        raise MemoryError
    after = cost.peak_memory("cpu")
    assert before is not None
    assert after is not None
    assert before < 2**24 < 2**26 < after < 2**31


@counted
@pytest.mark.parametrize("inside", [True, False])
def test_the_peak_of_what_failed_is_known_whether_in_a_look_or_after_one(inside):
    cost.begin_job("cpu")
    with suppress(MemoryError), cost.Stopwatch("cpu"):
        if not inside:
            grow(2**29)
        with cost.Stopwatch("cpu"):
            if inside:
                grow(2**29)
                raise MemoryError
        raise MemoryError
    peak = cost.peak_memory("cpu")
    assert peak is not None
    assert 2**26 < peak < 2**31


@counted
def test_a_block_timed_in_the_middle_has_a_peak_of_its_own():
    with cost.Stopwatch("cpu") as before:
        grow(2**27)
        with cost.Stopwatch("cpu") as inner:
            grow(2**28)
    with cost.Stopwatch("cpu") as after:
        with cost.Stopwatch("cpu"):
            grow(2**28)
        grow(2**27)
    assert inner.peak_memory is not None
    assert inner.peak_memory > 2**27
    for outer in (before, after):
        assert outer.peak_memory is not None
        assert 2**26 < outer.peak_memory < 2**27 + 2**26


def test_the_stopwatch_tells_waiting_from_working():
    with cost.Stopwatch("cpu") as asleep:
        time.sleep(0.05)
    assert asleep.seconds >= 0.05
    assert asleep.cpu_seconds < asleep.seconds


def test_the_stopwatch_stops_when_the_block_raises():
    watch = cost.Stopwatch("cpu")
    try:
        with watch:
            time.sleep(0.01)
            raise RuntimeError
    except RuntimeError:
        pass
    assert watch.seconds >= 0.01


def test_latency_percentiles_are_in_order_and_the_model_keeps_its_mode(monkeypatch):
    monkeypatch.setattr(latency, "WARM_SECONDS", 0)
    calls = []
    model = nn.Linear(3, 3).train()
    model.register_forward_hook(lambda *_: calls.append(1))
    measured = latency.measure_latency(model, torch.zeros(2, 3), "fp32")
    assert 0 < measured.p50 <= measured.p95
    assert isinstance(measured.contended, bool)
    assert latency.WARM_UP + latency.FEWEST <= len(calls) <= latency.WARM_UP + latency.MOST
    assert model.training


def test_small_data_is_repeated_to_fill_a_batch():
    assert latency.batch_of(torch.arange(3), 7).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_shared_parameters_count_once():
    linear = nn.Linear(3, 3)
    assert cost.parameter_count(nn.Sequential(linear, linear)) == 12


def test_the_machine_is_described_but_not_named():
    import getpass
    import platform

    facts = cost.machine()
    assert {"system", "processor", "vector instructions", "cores", "memory", "python", "torch"} <= set(facts)
    assert platform.node() not in facts.values()
    assert getpass.getuser() not in facts.values()
    assert cost.machine_id() == cost.machine_id()
    assert facts["torch"] in cost.machine_id()
    assert facts["processor"] in cost.machine_id()


def test_warming_up_leaves_no_trace_and_brings_in_what_torch_loads_late():
    import sys

    before = torch.get_rng_state()
    cost.warm_up("cpu")
    assert torch.equal(before, torch.get_rng_state())
    assert "torch._dynamo" in sys.modules
