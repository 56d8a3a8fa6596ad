"""Plugins that don't import, misspell a hook, or try to take others down: listed, and no other plugin is harmed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from finefuse import Entry, Ref, hookimpl
from finefuse.discovery.registry import Registry
from helpers.plugging import PLUGINS, complaint, fixture, module_with, names, only_info, write

pytestmark = pytest.mark.usefixtures("clean_imports")


def test_a_plugin_that_does_not_import_is_listed_and_the_others_run():
    registry = fixture("broken_import", "good")
    broken, good = registry.plugins()
    assert (broken.status, good.status) == ("broken", "ok")
    assert "ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in broken.reason
    assert "broken_import.py" in broken.traceback
    assert not any(name.startswith("finefuse_plugin_broken_import") for name in sys.modules)
    assert registry.build("scheme", Ref("thaw")).lr == 1e-3
    told = f"there is thaw (or a broken plugin may have it, {PLUGINS / 'broken_import.py'}: see `finefuse plugins`)"
    assert complaint(registry, "lost") == f"there is no scheme 'lost'; {told}"


@pytest.mark.parametrize(
    ("door", "reason"),
    [
        ("no_such_file.py", "there is no file "),
        (str(PLUGINS), "is a folder, not a file"),
        (str(PLUGINS.parents[2] / "LICENSE"), "is not a Python file"),
        ("no_such_module", "importing no_such_module raised ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_door_that_leads_nowhere(door: str, reason: str):
    info = only_info(Registry([door], entry_points=False))
    assert info.status == "broken"
    assert reason in info.reason


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "import sys; sys.exit()", "def f(:", "\x00", "1 / 0"])
def test_no_file_can_stop_the_others(tmp_path: Path, text: str):
    registry = Registry([write(tmp_path, "hostile.py", text), str(PLUGINS / "good.py")], entry_points=False)
    assert [info.status for info in registry.plugins()] == ["broken", "ok"]


def test_a_misspelled_hook_is_an_error_that_names_plugin_and_hook():
    registry = fixture("misspelled_hook", "good")
    broken = registry.plugins()[0]
    assert (broken.status, broken.name) == ("broken", str(PLUGINS / "misspelled_hook.py"))
    assert broken.reason == "there is no hook 'finefuse_scheme'; did you mean 'finefuse_schemes'?"
    assert broken.name in complaint(registry, "lost")
    assert registry.build("scheme", Ref("thaw"))


def test_a_hook_unlike_any_other_is_answered_with_all_of_them():
    module = module_with("odd", zzz=hookimpl(lambda: ["x"]))
    assert (
        "the hooks are finefuse_datasets, finefuse_backbones"
        in only_info(Registry([module], entry_points=False)).reason
    )


def test_functions_without_the_mark_are_noticed():
    module = module_with("unmarked", finefuse_schemes=list)
    info = only_info(Registry([module], entry_points=False))
    assert (info.status, info.reason) == ("broken", "it has no hooks; mark its functions with @finefuse.hookimpl")


def test_a_hook_with_other_arguments_is_an_error():
    class Eager:
        @hookimpl
        def finefuse_job_done(self, job, row):
            raise AssertionError

    info = only_info(Registry([Eager()], entry_points=False))
    assert info.status == "broken"
    assert "'row'" in info.reason


def test_a_raising_hook_costs_only_itself():
    registry = fixture("raising_hook", "good")
    broken = registry.plugins()[0]
    assert broken.reason == "finefuse_schemes raised RuntimeError: the catalogue is closed on Sundays"
    assert "raising_hook.py" in broken.traceback
    assert names(registry, "scheme") == ["thaw"]
    assert names(registry, "fusion") == ["loudest", "whole"]
    assert f"may have it, {broken.name}: see `finefuse plugins`" in complaint(registry, "half")


@pytest.mark.parametrize(
    "entry",
    [
        "thaw",
        ("thaw", "good:Thaw"),
        Entry("", "good:Thaw"),
        Entry("thaw", "good.Thaw"),
        Entry("thaw", "good.py:Thaw()"),
        Entry("thaw", None),
        Entry(3, "good:Thaw"),
    ],
)
def test_what_is_no_entry_is_refused(entry: object):
    class Odd:
        @hookimpl
        def finefuse_schemes(self):
            return [entry, Entry("sound", "good:Thaw")]

    registry = Registry([Odd()], entry_points=False)
    assert only_info(registry).status == "broken"
    assert repr(entry) in only_info(registry).reason
    assert names(registry, "scheme") == ["sound"]


def test_a_class_that_can_not_be_made_is_broken():
    class NeedsMore:
        def __init__(self, what: int) -> None:
            raise AssertionError

    info = only_info(Registry([NeedsMore], entry_points=False))
    assert "calling" in info.reason
    assert "missing 1 required positional argument" in info.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "nowhere",
            "importing broken_import:Scheme raised ModuleNotFoundError: No module named 'a_module_that_is_not_",
        ),
        ("nothing", "importing good:Missing raised AttributeError: module 'good' has no attribute 'Missing'"),
        ("number", "good:__doc__ is not a class"),
    ],
)
def test_a_target_that_does_not_import_names_its_provider(name: str, reason: str):
    assert complaint(fixture("broken_target"), name).startswith(
        f"scheme '{name}' of {PLUGINS / 'broken_target.py'}: {reason}"
    )
