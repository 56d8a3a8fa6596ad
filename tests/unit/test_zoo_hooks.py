"""The zoo's table of contents: every name leads to a strategy, and reading it costs nothing."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from finefuse import Ref
from finefuse.discovery.registry import Registry
from finefuse_zoo import hooks
from finefuse_zoo.schemes.search import Search

METHODS = {
    "datasets": ["task", "fingerprint", "splits"],
    "backbones": ["source", "fingerprint", "budget", "build", "tune"],
    "schemes": ["tune"],
    "fusions": ["level", "needs", "fuse"],
    "metrics": ["kinds", "higher_is_better", "score"],
    "executors": ["parallel", "start", "submit", "stop"],
    "reporters": ["write"],
}
ENTRIES = [(kind, entry) for kind in METHODS for entry in getattr(hooks, f"finefuse_{kind}")()]
REGISTRY = Registry(["finefuse_zoo.hooks"], entry_points=False)
SPACES = {
    entry.name: space
    for entry in hooks.finefuse_schemes()
    if (space := getattr(REGISTRY.target("scheme", entry.name), "space", {}))
}


def strategy(entry):
    """The class at an entry's address, read as any module is."""
    module, _, name = entry.target.partition(":")
    return getattr(importlib.import_module(module), name)


def test_the_names_of_every_kind_differ():
    names = [(kind, entry.name) for kind, entry in ENTRIES]
    assert {kind for kind, _ in names} == set(METHODS)
    assert len(set(names)) == len(names)


def test_every_strategy_is_in_the_table():
    folder = Path(hooks.__file__).parent
    written = {
        f"finefuse_zoo.{path.parent.name}.{path.stem}"
        for kind in METHODS
        for path in (folder / kind).glob("*.py")
        if not path.name.startswith("_")
    }
    assert written == {entry.target.partition(":")[0] for _, entry in ENTRIES}


def test_every_registration_hook_is_listed_here():
    declared = {name for name in vars(hooks) if name.startswith("finefuse_")}
    assert declared == {f"finefuse_{kind}" for kind in METHODS} | {"finefuse_suites"}


def test_every_address_leads_to_a_frozen_dataclass_of_the_kind():
    for kind, entry in ENTRIES:
        module, cls = entry.target.partition(":")[0], strategy(entry)
        assert module.startswith(f"finefuse_zoo.{kind}."), entry
        assert inspect.isclass(cls), entry
        assert is_dataclass(cls), entry
        assert cls.__dataclass_params__.frozen, entry
        assert cls.__module__ == module, entry
        assert [method for method in METHODS[kind] if not hasattr(cls, method)] == [], entry


def test_every_strategy_works_without_parameters():
    for kind, entry in ENTRIES:
        cls = strategy(entry)
        needed = {field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING}
        if kind != "datasets" and entry.name != "from-file":  # other people's files have to be named
            assert needed <= set(getattr(cls, "nested", ())), entry  # what is made of schemes has to be told of which
        if entry.name not in ("hf-text", "clip"):  # they need one of two
            assert needed or hash(cls()) == hash(cls()), entry


@pytest.mark.parametrize("name", SPACES)
def test_the_ends_of_a_schemes_own_space_are_allowed(name):
    for params in Search("full").extremes(SPACES[name]):
        given = REGISTRY.build("scheme", Ref.of(name, **params))
        assert {name: getattr(given, name) for name in params} == params


def test_most_schemes_have_a_space_of_their_own():
    assert len(SPACES) > 30


def test_the_table_is_read_without_importing_a_strategy_or_torch():
    code = (
        "import sys; from finefuse_zoo import hooks; "
        f"[list(getattr(hooks, 'finefuse_' + kind)()) for kind in {list(METHODS)}]; list(hooks.finefuse_suites()); "
        "print(sorted(m for m in sys.modules if m.startswith('finefuse_zoo.') or m in "
        "('torch', 'numpy', 'sklearn', 'pandas')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['finefuse_zoo.hooks']"


def test_suites_are_found_in_a_checkout():
    folder = Path(__file__).parents[2] / "suites"
    found = [Path(path) for path in hooks.finefuse_suites()]
    assert found == sorted(folder.glob("*.toml"))
    assert {tomllib.loads(path.read_text(encoding="utf-8"))["name"] for path in found} >= {"quick", "digits"}


def test_suites_are_found_in_an_installed_wheel(monkeypatch, tmp_path):
    package = tmp_path / "site-packages" / "finefuse_zoo"
    (package / "suites").mkdir(parents=True)
    for name in ("b.toml", "a.toml", "notes.txt"):
        (package / "suites" / name).write_text("")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "not-ours.toml").write_text("")
    monkeypatch.setattr(hooks, "__file__", str(package / "hooks.py"))
    assert [path.name for path in hooks.finefuse_suites()] == ["a.toml", "b.toml"]


def test_without_any_suites_there_are_none(monkeypatch, tmp_path):
    monkeypatch.setattr(hooks, "__file__", str(tmp_path / "site-packages" / "finefuse_zoo" / "hooks.py"))
    assert list(hooks.finefuse_suites()) == []
