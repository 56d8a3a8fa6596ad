"""How plugins come in: files, modules, objects and entry points."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from finefuse import Entry, Ref, hookimpl
from finefuse.discovery.registry import Registry
from helpers.plugging import PLUGINS, Observer, fixture, module_with, names, only_info, write

INSTALLED = any(point.value == "finefuse_zoo.hooks" for point in metadata.entry_points(group="finefuse"))
pytestmark = pytest.mark.usefixtures("clean_imports")


def test_a_module_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(PLUGINS)
    registry = Registry(["good"], entry_points=False)
    assert (only_info(registry).name, only_info(registry).door) == ("good", "module")
    assert names(registry, "scheme") == ["thaw"]


def test_modules_objects_and_classes_are_doors():
    module = module_with("made_up", finefuse_schemes=hookimpl(lambda: [Entry("from-module", "good:Thaw")]))
    observer = Observer()
    assert names(Registry([module, observer], entry_points=False), "scheme") == ["by-object", "from-module"]
    registry = Registry([Observer], entry_points=False)
    assert names(registry, "scheme") == ["by-object"]
    assert only_info(registry).name == f"plugins[0], the class {Observer.__module__}.Observer"


def test_relative_and_home_paths_become_absolute(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(PLUGINS.parent)
    monkeypatch.setenv("HOME", str(PLUGINS))
    registry = Registry(["plugins/good.py", "~/good.py", PLUGINS / "good.py"], entry_points=False)
    assert set(registry.doors) == {str(PLUGINS / "good.py")}
    assert names(registry, "scheme") == ["thaw"]
    monkeypatch.chdir("/")
    assert names(Registry(registry.doors, entry_points=False), "scheme") == ["thaw"]


def test_the_same_door_twice_is_one_plugin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(PLUGINS)
    observer, file = Observer(), str(PLUGINS / "good.py")
    registry = Registry([file, file, "good", observer, observer, Observer, Observer], entry_points=False)
    assert len(registry.plugins()) == 3
    assert names(registry, "scheme").count("thaw") == 1


def test_an_entry_point_and_a_door_to_one_module_are_one_plugin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(PLUGINS)
    point = metadata.EntryPoint("mine", "good", "finefuse")
    monkeypatch.setattr(metadata, "entry_points", lambda group: metadata.EntryPoints([point]))
    registry = Registry(["good", str(PLUGINS / "good.py")])
    assert only_info(registry).door == "entry point 'mine' of"
    assert Registry(entry_points=False).plugins() == []


def test_an_installed_distribution_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    dist = tmp_path / "thawing-1.2.dist-info"
    write(dist, "METADATA", "Metadata-Version: 2.1\nName: thawing\nVersion: 1.2\n")
    write(dist, "entry_points.txt", "[finefuse]\nthaw = good\nbad = broken_import\n")
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry([str(PLUGINS / "clashing_a.py")])
    found = registry.find("scheme", "thaw")
    assert (found.provider, found.distribution, found.version) == ("good", "thawing", "1.2")
    infos = {info.name: info for info in registry.plugins()}
    assert infos["good"].door == "entry point 'thaw' of thawing 1.2"
    assert infos["broken_import"].status == "broken"


@pytest.mark.skipif(not INSTALLED, reason="finefuse is not installed as a distribution")
def test_the_zoo_enters_by_its_entry_point():
    registry = Registry()
    found = registry.find("scheme", "full")
    assert (found.provider, found.distribution) == ("finefuse_zoo.hooks", "finefuse")
    assert "quick" in registry.suites()


def test_a_file_is_run_once_and_again_after_an_edit(tmp_path: Path):
    text = """
        from finefuse import Entry, hookimpl
        @hookimpl
        def finefuse_schemes():
            yield Entry("NAME", "good:Thaw")
    """
    file = write(tmp_path, "edited.py", text.replace("NAME", "one"))
    module = Registry([file], entry_points=False)._plugins[0].opened.plugin
    assert Registry([file], entry_points=False)._plugins[0].opened.plugin is module
    assert sys.modules[module.__name__] is module
    write(tmp_path, "edited.py", text.replace("NAME", "two"))
    assert names(Registry([file], entry_points=False), "scheme") == ["two"]


def test_files_of_one_name_are_two_plugins(tmp_path: Path):
    text = """
        from finefuse import Entry, hookimpl
        @hookimpl
        def finefuse_schemes():
            yield Entry("NAME", "good:Thaw")
    """
    doors = [write(tmp_path / name, "plugin.py", text.replace("NAME", name)) for name in ("x", "y")]
    assert names(Registry(doors, entry_points=False), "scheme") == ["x", "y"]


def test_a_helper_beside_the_plugin_is_found():
    assert fixture("with_helper").build("scheme", Ref("helped")).lr == 0.25


def test_a_helper_with_the_name_of_a_builtin_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "time.py", "RATE = 99\n")
    info = only_info(Registry([write(tmp_path, "clock.py", "import time\n")], entry_points=False))
    assert info.reason == "its helper 'time' is hidden by built-in; give it another name"


def test_a_plugin_beside_the_core_is_fine(tmp_path: Path):
    write(tmp_path / "finefuse", "__init__.py", "")
    door = write(tmp_path, "beside.py", (PLUGINS / "clashing_a.py").read_text())
    assert names(Registry([door], entry_points=False), "scheme") == ["only-a", "twin"]


def test_a_file_is_compiled_as_it_is_written(tmp_path: Path):
    """The future statements of the core are not the plugin's."""
    door = write(
        tmp_path, "plain.py", "from finefuse import hookimpl\nfinefuse_suites = hookimpl(lambda: [])\nx: int = 1\n"
    )
    Registry([door], entry_points=False)
    (module,) = (module for name, module in sys.modules.items() if name.startswith("finefuse_plugin_plain"))
    assert module.__annotations__ == {"x": int}


def test_a_helper_that_is_hidden_is_refused(tmp_path: Path):
    write(tmp_path, "helper_of_plugin.py", "RATE = 99\n")
    door = write(tmp_path, "other.py", (PLUGINS / "with_helper.py").read_text())
    registry = Registry([str(PLUGINS / "with_helper.py"), door], entry_points=False)
    broken = registry.plugins()[1]
    assert broken.status == "broken"
    assert broken.reason == (
        f"its helper 'helper_of_plugin' is hidden by {PLUGINS / 'helper_of_plugin.py'}; give it another name"
    )
    assert registry.build("scheme", Ref("helped")).lr == 0.25
