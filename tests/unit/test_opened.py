"""What is done once, in a process that is then copied for each job: of built-in plugins more than of others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import finefuse.engine.work.job  # noqa: F401  (what is looked at must be there)
from finefuse.engine.work.opened import open_ahead
from finefuse.types import Ref

BUILT_IN = "finefuse_zoo.schemes.scratch"
OUTSIDE = """
import finefuse

@finefuse.hookimpl
def finefuse_schemes():
    yield finefuse.Entry("from outside", "class_from_outside:Scheme", "leaves its mark")
"""


def test_built_in_classes_are_imported_ahead_and_an_outsider_s_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from_outside.py").write_text(OUTSIDE)
    (tmp_path / "class_from_outside.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, BUILT_IN, raising=False)
    used = [("scheme", Ref.of(name)) for name in ("from outside", "there is none", "scratch")]
    open_ahead((str(tmp_path / "from_outside.py"),), used)  # type: ignore[arg-type]
    assert BUILT_IN in sys.modules
    assert "class_from_outside" not in sys.modules


def test_what_parameters_a_built_in_one_refuses_is_left_to_its_jobs() -> None:
    open_ahead((), [("scheme", Ref.of("scratch", lr="fast"))])
