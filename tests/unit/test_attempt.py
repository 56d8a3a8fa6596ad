"""What goes wrong in a job becomes a row."""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.engine.work.attempt import attempt
from finefuse.errors import NotApplicable, StoreError, one_line


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
