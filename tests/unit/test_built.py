"""A strategy can't read the test targets by building the data set again, and the data set is left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finefuse.engine.work.built import for_the_core_alone, splits_for_the_core
from finefuse.errors import PluginError


class Base:
    def splits(self, seed: int) -> Any:
        return seed


class Inheriting(Base):
    pass


class Own(Base):
    def splits(self, seed: int) -> Any:
        return super().splits(seed) + 100


@pytest.mark.parametrize("cls", [Inheriting, Own])
def test_only_the_core_gets_splits_meanwhile(cls: Any) -> None:
    before = dict(vars(cls))
    expected = cls().splits(3)
    with for_the_core_alone({cls, Base}):
        with pytest.raises(PluginError, match=f"^it builds the data set {cls.__name__} again, whose test targets"):
            cls().splits(3)
        assert splits_for_the_core(cls(), 3) == expected
    assert dict(vars(cls)) == before
    assert cls().splits(3) == expected


def test_it_is_put_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="oops"), for_the_core_alone({Own}):
        raise ValueError("oops")
    assert Own().splits(1) == 101


PEEKS = """
from dataclasses import dataclass
import sys
from finefuse import Entry, hookimpl

@dataclass(frozen=True)
class Peeks:
    \"\"\"Reads the test targets.\"\"\"

    def tune(self, on):
        tiny = next(module for name, module in sys.modules.items() if name.startswith("finefuse_plugin_tiny"))
        next(iter(tiny.finefuse_datasets())).target().splits(0)

@hookimpl
def finefuse_schemes():
    yield Entry("peeks", Peeks, "reads the test targets")
"""


def test_a_scheme_that_builds_it_fails_its_row(workshop: Any, tmp_path: Path) -> None:
    (tmp_path / "peeks.py").write_text(PEEKS)
    with pytest.raises(PluginError, match="again, whose test targets only the scoring sees"):
        workshop([str(tmp_path / "peeks.py")], schemes=["peeks"], fusions=[], pools={}, latency=[]).run("tune")
    workshop(schemes=["full"], fusions=[], pools={}, latency=[]).run("tune")
