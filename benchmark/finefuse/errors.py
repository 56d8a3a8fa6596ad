"""Everything finefuse raises on purpose. Each message is one sentence that a user can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

OUT_OF_MEMORY = {"MemoryExceeded", "MemoryError", "OutOfMemoryError"}
SAYS_SO = re.compile(r"DefaultCPUAllocator: can't allocate memory|(CUDA|HIP) (error: )?out of memory|\w+_ALLOC_FAILED")
"""Of errors that are of no class of their own: of torch on the processor, and of CUDA and its libraries."""


def out_of_memory(error: BaseException) -> bool:
    """Whether this says that there was not enough memory, of the machine or of a device."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & OUT_OF_MEMORY) or any(isinstance(arg, str) and SAYS_SO.search(arg) for arg in error.args)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: `; did you mean 'this'?`, or nothing if no known word is near."""
    by_case = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]!r}?" if near else ""


def one_line(error: BaseException) -> str:
    """`TypeName: message` without line breaks, even if the error has no words for itself."""
    try:
        text = " ".join(str(error).split())
    except Exception as worse:
        text = f"(its message can't be had: {type(worse).__name__})"
    name = type(error).__name__
    if text.startswith(f"{name}:"):  # an executor's, which could not send the error itself
        return text
    return f"{name}: {text}" if text else name


class FinefuseError(Exception):
    """Base of all errors that the user can correct; the command line prints the message and exits with 2."""


class SuiteError(FinefuseError):
    """A suite that can't be read or makes no sense; the message names file, line and key where they are known."""

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        self.file, self.line = file, line
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + message)


class PluginError(FinefuseError):
    """A plugin that is unknown, broken, clashes with another, or was given a parameter it doesn't have."""


class ParameterError(PluginError):
    """One parameter of one plugin is wrong; `key` names it, so that the suite reader can point at its line."""

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class StoreError(FinefuseError):
    """Records or artifacts that can't be read or written."""


class DeviceLost(FinefuseError):  # noqa: N818
    """A GPU that this process can't use any more, because of what an earlier job did to it."""


class NotApplicable(FinefuseError):  # noqa: N818 - not an error of anyone's: it becomes a `skipped` row
    """Raised by a strategy that doesn't apply to a cell; the cell is `skipped` with the message as its reason."""


class BudgetError(FinefuseError):
    """A scheme asked the trainer for more steps than its budget holds."""


class WorkerDied(FinefuseError):  # noqa: N818
    """A worker process ended in the middle of a job.

    `exitcode` is what the system reported: negative for a signal, None where it is not known.
    """

    def __init__(self, message: str, *, exitcode: int | None = None) -> None:
        self.exitcode = exitcode
        super().__init__(message)


class MemoryExceeded(FinefuseError):  # noqa: N818
    """A job took more memory than its limit; it becomes an `oom` row.

    `peak_memory` is how many bytes it had when it was stopped, None where that is not known.
    """

    def __init__(self, message: str, *, peak_memory: int | None = None) -> None:
        self.peak_memory = peak_memory
        super().__init__(message)
