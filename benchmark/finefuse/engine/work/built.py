"""Data sets make splits for the core alone while a job runs: test targets are in what they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from finefuse.errors import PluginError
from finefuse.types import Dataset, Splits

_loading: list[str] = []


def splits_for_the_core(dataset: Dataset, seed: int) -> Splits:
    """What a data set makes; this is the only call that is not refused."""
    _loading.append(type(dataset).__name__)
    try:
        return dataset.splits(seed)
    finally:
        _loading.pop()


@contextmanager
def for_the_core_alone(classes: Iterable[type]) -> Iterator[None]:
    """Meanwhile `splits` of these classes raises a `PluginError` for whoever else calls it."""
    inherited = {cls: cls.splits for cls in classes}  # type: ignore[attr-defined]
    own = {cls: "splits" in vars(cls) for cls in inherited}
    for cls, method in inherited.items():
        cls.splits = _guarded(cls, method)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for cls, method in inherited.items():
            if own[cls]:
                cls.splits = method  # type: ignore[attr-defined]
            else:
                del cls.splits  # type: ignore[attr-defined]


def _guarded(cls: type, method: object) -> object:
    def splits(self: Dataset, seed: int) -> Splits:
        if not _loading:
            raise PluginError(f"it builds the data set {cls.__name__} again, whose test targets only the scoring sees")
        return method(self, seed)  # type: ignore[operator,no-any-return]

    return splits
