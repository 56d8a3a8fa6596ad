"""The rules for executors. Those with processes of their own are tried with two workers and small calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from finefuse.discovery import capabilities
from finefuse.errors import MemoryExceeded, WorkerDied
from finefuse.small_calls import MIB, SIGN, answers, dies, hoards, raises, sleeps, takes_a_moment
from finefuse.testing.report import Check, NotRun, Report, conform, made, require
from finefuse.testing.traces import leaving_no_trace
from finefuse.types import Crew, Executor, Record

LIMIT = 300 * MIB
PATIENCE = 120.0
"""Seconds after which a call counts as lost."""


def check_executor(executor: Any, *, skip: Collection[str] = (), expected: Mapping[str, str] | None = None) -> Report:
    """Try an executor, a class or an instance, against every rule of `EXECUTOR_CHECKS` that is not in `skip`.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(executor, EXECUTOR_CHECKS, skip, expected)


@contextmanager
def _started(executor: Any, workers: int = 2, memory: int = 0) -> Iterator[Executor]:
    one: Executor = made(executor)
    one.start(Crew(workers, 1, memory, environment={SIGN: "set"}, calls=8))
    try:
        yield one
    finally:
        one.stop()
        one.stop()  # it may be called twice


def _result(future: object) -> Record:
    require(isinstance(future, Future), f"`submit` gave {future!r}, and not a Future")
    return future.result(PATIENCE)  # type: ignore[attr-defined,no-any-return]


def _once(executor: Any) -> None:
    with _started(executor) as one:
        futures = [one.submit(answers, number, 60.0) for number in range(6)]
        numbers = [_result(future).get("number") for future in futures]
    require(numbers == list(range(6)), f"six calls gave the answers {numbers}")


def _errors(executor: Any) -> None:
    with _started(executor) as one:
        failing, fine = one.submit(raises, 1, 60.0), one.submit(answers, 2, 60.0)
        error = failing.exception(PATIENCE)
        require(type(error) is ValueError, f"a call that raises ValueError gave {error!r}")
        require(_result(fine).get("number") == 2, "after a call that raises the next one has another answer")


def _apart(executor: Any) -> None:
    _needs_processes(executor)
    with _started(executor) as one:
        calls = [_result(future) for future in [one.submit(takes_a_moment, n, 60.0) for n in range(4)]]
    for first in calls:
        for second in calls:
            same = first is not second and first["pid"] == second["pid"]
            at_once = same and first["began"] < second["ended"] and second["began"] < first["ended"]
            require(not at_once, "two calls ran in one process at the same time")
    require(all(call["pid"] != os.getpid() for call in calls), "it says `parallel`, and a call ran in this process")


def _environment(executor: Any) -> None:
    _needs_processes(executor)
    with _started(executor) as one:
        sign = _result(one.submit(answers, 0, 60.0))["sign"]
    require(sign == "set", "calls don't have the variables of `crew.environment`")


def _time(executor: Any) -> None:
    _ends_with(executor, sleeps, 30, TimeoutError, "a call past its time", seconds=0.5)


def _memory(executor: Any) -> None:
    _ends_with(executor, hoards, 3 * LIMIT // MIB, MemoryExceeded, "a call past its memory", memory=LIMIT)


def _death(executor: Any) -> None:
    _ends_with(executor, dies, 3, WorkerDied, "a call whose process ends")


def _ends_with(
    executor: Any,
    call: Callable[[int], Record],
    argument: int,
    error: type[BaseException],
    what: str,
    *,
    seconds: float = 60.0,
    memory: int = 0,
) -> None:
    _needs_processes(executor)
    with _started(executor, memory=memory) as one:
        raised = one.submit(call, argument, seconds).exception(PATIENCE)
        require(isinstance(raised, error), f"{what} gave {raised!r}, and not a {error.__name__}")
        require(_result(one.submit(answers, 1, 60.0))["number"] == 1, f"after {what} there is no answer to the next")


def _traces(executor: Any) -> None:
    with leaving_no_trace(), _started(executor) as one:
        _result(one.submit(answers, 1, 60.0))


def _needs_processes(executor: Any) -> None:
    if not capabilities.parallel(made(executor)):
        raise NotRun("its calls run in this process (`parallel` is False)")


EXECUTOR_CHECKS: dict[str, Check] = {
    "every-row-once": _once,
    "errors-come-back": _errors,
    "one-call-per-process": _apart,
    "environment-is-passed-on": _environment,
    "time-is-limited": _time,
    "memory-is-limited": _memory,
    "a-death-is-told": _death,
    "nothing-is-left-behind": _traces,
}
