"""What strategies may ask of the trainer, refused in a sentence where it makes no sense."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from finefuse.errors import PluginError


def some_rows(rows: Tensor | None) -> None:
    """Refuse to train on none."""
    if rows is not None and not len(rows):
        raise ValueError("there are no examples to train on: rows is empty")


def must_take(what: str, function: Callable[..., Any] | None, arguments: tuple[str, str]) -> None:
    """Refuse a function of other arguments before it is called the first time."""
    try:
        takes = inspect.signature(function) if function is not None else None
    except ValueError:  # a builtin that doesn't say
        return
    try:
        takes and takes.bind(*arguments)
    except TypeError:
        names = ", ".join(arguments)
        raise PluginError(
            f"{what} is called as {what}({names}), where a batch has x, y and rows, and this one takes {takes}"
        ) from None
