"""What is done once, in a process that is then copied for each job: of built-in plugins more than of others."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import finefuse.engine.work.job  # noqa: F401  (what is looked at must be there)
from finefuse.discovery.registry import Provided, Registry
from finefuse.engine.work.opened import open_ahead
from finefuse.types import PluginKind, Ref

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


@pytest.mark.parametrize("extras", [True, False])
def test_what_a_built_in_one_requires_is_imported_ahead_if_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extras: bool
) -> None:
    (tmp_path / "required_by_one.py").write_text("")
    (tmp_path / "fails_to_import.py").write_text("import there_is_none_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "required_by_one", raising=False)
    find, requires = Registry.find, {"full": "fails_to_import", "scratch": "required_by_one"}

    def with_extras(registry: Registry, kind: PluginKind, name: str) -> Provided[Any]:
        found = find(registry, kind, name)
        return replace(found, entry=replace(found.entry, requires=(requires[name],)))

    monkeypatch.setattr(Registry, "find", with_extras)
    open_ahead((), [("scheme", Ref.of("full")), ("scheme", Ref.of("scratch"))], extras=extras)
    assert ("required_by_one" in sys.modules) is extras
