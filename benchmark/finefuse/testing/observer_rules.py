"""The rules for observers: any run may be told to them, also one that was stopped or had nothing to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finefuse.discovery import capabilities
from finefuse.testing.boards import small_row
from finefuse.testing.report import Check, Report, conform, made, require
from finefuse.testing.traces import leaving_no_trace
from finefuse.types import Job, Record, Ref

METHODS = ("run_begins", "job_begins", "job_ends", "run_ends", "note")
ENDINGS = ("ok", "failed", "timeout", "oom", "skipped", "blocked")


def check_observer(observer: Any, *, skip: Collection[str] = (), expected: Mapping[str, str] | None = None) -> Report:
    """Try an observer, a class or an instance, against every rule of `OBSERVER_CHECKS` that is not in `skip`.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(observer, OBSERVER_CHECKS, skip, expected)


@dataclass(frozen=True)
class _Plan:
    """What an observer sees of a plan."""

    name: str
    jobs: Sequence[Job]


def _tell(observer: Any, method: str, *args: object) -> None:
    if call := capabilities.observer_calls(observer).get(method):
        call(*args)


def tell_run(observer: Any, statuses: Sequence[str], *, stopped: bool = False) -> Any:
    """Tell an observer a run, with jobs that end so; skipped and blocked ones never begin."""
    observer = made(observer)
    rows = [_row(n, status) for n, status in enumerate(statuses)]
    jobs = [Job("tune", Ref("small-net"), Ref("points"), Ref("tuned"), "tuned", seed=n) for n in range(len(rows))]
    _tell(observer, "run_begins", _Plan("small", jobs), len(jobs), 0)
    for job, row in zip(jobs, rows, strict=True):
        if row["status"] not in ("skipped", "blocked"):
            _tell(observer, "job_begins", job)
        if not stopped:
            _tell(observer, "job_ends", job, dict(row))
    _tell(observer, "note", "one sentence worth reading")
    _tell(observer, "run_ends", [] if stopped else [dict(row) for row in rows])
    return observer


def _row(n: int, status: str) -> Record:
    row = small_row("tuned", n, 80)
    if status == "ok":
        return row
    measured = ("test.", "val.", "seconds", "cpu_seconds", "correct", "flops", "outputs", "metrics", "better.")
    kept = {name: value for name, value in row.items() if not name.startswith(measured)}
    return kept | {"status": status, "reason": "it broke"}


def _hears(observer: Any) -> None:
    """It has a method that is called at all."""
    require(capabilities.observer_calls(made(observer)), f"it has none of {', '.join(METHODS)}")


def _whole(observer: Any) -> None:
    tell_run(observer, ["ok", "ok", "ok"])


def _endings(observer: Any) -> None:
    tell_run(observer, ENDINGS)


def _stopped(observer: Any) -> None:
    tell_run(observer, ["ok", "ok"], stopped=True)


def _nothing(observer: Any) -> None:
    tell_run(observer, [])


def _traces(observer: Any) -> None:
    with leaving_no_trace(files=False):
        tell_run(observer, ["ok", "failed"])


OBSERVER_CHECKS: dict[str, Check] = {
    "is-told-something": _hears,
    "a-whole-run": _whole,
    "rows-of-every-status": _endings,
    "a-run-that-is-stopped": _stopped,
    "a-run-with-nothing-to-do": _nothing,
    "nothing-else-is-changed": _traces,
}
