"""What goes wrong in a job becomes a row."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse.engine.work import lost
from finefuse.engine.work.attempt import attempt
from finefuse.errors import DeviceLost, NotApplicable, StoreError, one_line
from helpers.runs import rows, statuses


def test_an_attempt_turns_what_is_raised_into_a_row(fake: ModuleType, tmp_path: Path) -> None:
    order = fake.order(fake.job("a"), tmp_path)

    def outcome(error: BaseException) -> tuple[str, str, str]:
        def carry_out(_: object) -> dict:
            raise error

        record = attempt(order, carry_out)
        assert "Traceback" in record["traceback"]
        return record["status"], record["error"], record["reason"]

    class OutOfMemoryError(RuntimeError):
        """Like torch's."""

    class ArrayMemoryError(MemoryError):
        """Like numpy's."""

    assert outcome(ValueError("x\n  y")) == ("failed", "ValueError", "ValueError: x y")
    assert outcome(TimeoutError("slow server")) == ("failed", "TimeoutError", "TimeoutError: slow server")
    assert outcome(OutOfMemoryError("CUDA"))[0] == "oom"
    assert outcome(ArrayMemoryError("3 GiB"))[0] == "oom"
    assert outcome(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"))[0] == "oom"
    assert outcome(NotApplicable("one member only")) == ("skipped", "NotApplicable", "NotApplicable: one member only")
    assert outcome(RuntimeError("RuntimeError: boom")) == ("failed", "RuntimeError", "RuntimeError: boom")
    assert outcome(SystemExit(3)) == ("failed", "SystemExit", "SystemExit: 3")


def test_what_a_job_logs_can_not_control_a_terminal(
    fake: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def carry_out(_: object) -> dict:
        logging.getLogger("finefuse").warning("left out: %s", "\x1b[31m\u202e.png")
        return {}

    attempt(fake.order(fake.job("a"), tmp_path), carry_out)
    assert caplog.messages == [r"left out: \x1b[31m\u202e.png"]


def test_a_job_out_of_memory_says_how_much_it_had(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, cost = pytest.importorskip("torch"), importlib.import_module("finefuse.engine.measure.cost")
    peaks = {"cuda:1": 12345, "cuda:0": 1}
    monkeypatch.setattr(cost, "_job", cost._Job())  # none has begun
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[str(device)])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    def row_of(error: BaseException, device: str) -> dict:
        def carry_out(_: object) -> dict:
            raise error

        return attempt(replace(fake.order(fake.job("a"), tmp_path), device=device), carry_out)

    assert row_of(torch.OutOfMemoryError("CUDA out of memory"), "cuda:1")["peak_memory"] == 12345
    assert row_of(torch.OutOfMemoryError("CUDA out of memory"), "cuda:7")["peak_memory"] is None  # it can't tell
    assert "peak_memory" not in row_of(ValueError("no"), "cuda:1")
    monkeypatch.setattr(cost, "_job", cost._Job())
    assert row_of(MemoryError(), "cpu")["peak_memory"] is None
    cost.begin_job("cpu")
    if cost.peak_memory("cpu") is not None:
        assert 0 <= row_of(MemoryError(), "cpu")["peak_memory"] < 2**30
    monkeypatch.delitem(sys.modules, "finefuse.engine.measure.cost")
    assert row_of(MemoryError(), "cpu")["peak_memory"] is None


@pytest.mark.parametrize("error", [StoreError("full"), KeyboardInterrupt()])
def test_an_attempt_passes_on_what_is_not_the_job(fake: ModuleType, tmp_path: Path, error: BaseException) -> None:
    def carry_out(_: object) -> dict:
        raise error

    with pytest.raises(type(error)):
        attempt(fake.order(fake.job("a"), tmp_path), carry_out)


def test_a_row_that_is_not_json_is_a_failure(fake: ModuleType, tmp_path: Path) -> None:
    record = attempt(fake.order(fake.job("a"), tmp_path), lambda order: {"status": "ok", "score": {1, 2}})
    assert record["status"] == "failed"
    assert "not JSON serializable" in record["reason"]


def test_the_real_thing_is_carried_out_where_nothing_else_is_named(fake: ModuleType, tmp_path: Path) -> None:
    """Without such plugins it can only fail, with a row that names the one it looked for first."""
    record = attempt(fake.order(fake.job("a"), tmp_path))
    assert (record["status"], record["error"]) == ("failed", "PluginError")


def test_one_line() -> None:
    assert one_line(ValueError()) == "ValueError"
    assert one_line(ValueError(" a\n\tb ")) == "ValueError: a b"


SAID = "CUDA error: device-side assert triggered"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """GPUs that answer nothing any more; the others are well."""
    found: set[str] = set()
    cost = importlib.import_module("finefuse.engine.measure.cost")

    def synchronise(device: str) -> None:
        if device in found:
            raise RuntimeError(SAID)

    monkeypatch.setattr(cost, "synchronise", synchronise)
    monkeypatch.setattr(lost, "_lost", {})
    return found


def breaking(broken: set[str], *labels: str) -> Callable[[Any], dict]:
    """Carries out jobs, of which these break their GPU."""

    def carry_out(order: Any) -> dict:
        if order.job.label in labels:
            broken.add(order.device)
            raise RuntimeError(SAID)
        return dict(importlib.import_module("fake_run").carry_out(order))

    return carry_out


def test_a_job_that_leaves_its_gpu_unusable_is_the_last_on_it_in_this_process(
    fake: ModuleType, tmp_path: Path, broken: set[str]
) -> None:
    carry_out = breaking(broken, "a")

    def on(device: str, label: str) -> dict:
        return attempt(replace(fake.order(fake.job(label), tmp_path), device=device), carry_out)

    assert (on("cuda:0", "a")["status"], on("cuda:1", "b")["status"], on("cpu", "c")["status"]) == (
        "failed",
        "ok",
        "ok",
    )
    with pytest.raises(DeviceLost, match=r"cuda:0 can't be used .*: since .*a.* failed \(RuntimeError: .*; run again"):
        on("cuda:0", "d")


def test_an_ordinary_failure_costs_no_gpu(fake: ModuleType, tmp_path: Path, broken: set[str]) -> None:
    def fails(_: object) -> dict:
        raise ValueError("no")

    order = replace(fake.order(fake.job("a"), tmp_path), device="cuda:0")
    assert [attempt(order, fails)["status"] for _ in range(2)] == ["failed", "failed"]


def test_a_run_in_one_process_ends_there_and_goes_on_when_it_is_run_again(
    fake: ModuleType, tmp_path: Path, broken: set[str]
) -> None:
    plan = fake.plan(*map(fake.job, "abcd"))
    call = partial(attempt, carry_out=breaking(broken, "b"))
    with pytest.raises(DeviceLost, match="cuda:0 can't be used in this process"):
        fake.run(plan, tmp_path, fake.Inline(), device="cuda:0", call=call)
    assert statuses(rows(tmp_path)) == {"a": "ok", "b": "failed"}
    lost._lost.clear()
    broken.clear()
    assert statuses(fake.run(plan, tmp_path)) == {"a": "ok", "b": "failed", "c": "ok", "d": "ok"}


def test_a_job_that_fails_on_one_of_several_gpus_names_that_one(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, cost = pytest.importorskip("torch"), importlib.import_module("finefuse.engine.measure.cost")
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: 0,
        "get_device_name": ["A100", "T4"].__getitem__,
        "synchronize": lambda device: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    cost._machine.cache_clear()

    def carry_out(_: object) -> dict:
        raise ValueError("no")

    for device, first in (
        ("cuda:1", "T4 (of A100, T4)"),
        ("cuda:0", "A100 (of"),
        ("cuda", "A100 (of"),
        ("cpu", "A100"),
    ):
        order = replace(fake.order(fake.job("a"), tmp_path), device=device)
        assert f", {first}" in attempt(order, carry_out)["machine"]
    cost._machine.cache_clear()
