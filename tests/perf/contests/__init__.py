"""Ways to do one thing, to be timed side by side: by tests/perf, and by studies/perf/measure.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contest:
    """`ways` are given what `fresh` makes, anew every time and off the clock."""

    fresh: Callable[[], Any]
    ways: Mapping[str, Callable[[Any], object]]
