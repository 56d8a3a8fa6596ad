"""The doors for plugins: entry points, files, modules by name, and objects. Errors in one don't affect the others."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from finefuse.discovery import asked_for, capabilities
from finefuse.discovery.imports import CORE, imports_of
from finefuse.discovery.lazy import heavy_imports_later
from finefuse.errors import PluginError

ENTRY_POINT = "entry point"
"""How the door of an installed plugin begins, in words."""
Door = str | object
"""How a plugin is given: "path/to/file.py", "module.name", or a module, an instance or a class with hooks."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a plugin: one sentence, and the traceback where something was raised."""

    reason: str
    traceback: str = ""

    @classmethod
    def of(cls, doing: str, error: BaseException) -> Trouble:
        """From what was raised while doing something."""
        if isinstance(error, PluginError):
            return cls(str(error), "".join(traceback.format_exception(error)))
        text = f"{doing} raised {type(error).__name__}: {' '.join(str(error).split())}"
        return cls(text.rstrip(": "), "".join(traceback.format_exception(error)))


@dataclass(frozen=True)
class Opened:
    """A plugin loaded by a door, or the trouble with it. `provider` and `door` say for people where it is from."""

    provider: str
    door: str
    plugin: Any = None
    version: str = ""
    distribution: str = ""
    trouble: Trouble | None = None
    refused: str = ""
    """Why it can't be used with this finefuse; then it was not loaded."""

    @property
    def identity(self) -> object:
        """Equal for two doors that lead to the same plugin: the file of a module, else the object itself."""
        if self.plugin is None:
            return self.provider
        file = getattr(self.plugin, "__file__", None) if isinstance(self.plugin, ModuleType) else None
        return os.path.realpath(file) if file else id(type(self.plugin) if self.door == "class" else self.plugin)


def normal(door: Door) -> Door:
    """The same door, good in any working folder: the paths of files are made absolute."""
    if isinstance(door, os.PathLike):
        door = os.fspath(door)
    if isinstance(door, str) and (door.endswith(".py") or "/" in door or os.sep in door):
        return os.path.realpath(Path(door).expanduser())
    return door


def open_entry_point(point: EntryPoint) -> Opened:
    """Load what an installed distribution offers."""
    distribution, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
    door = f"{ENTRY_POINT} {point.name!r} of {distribution} {version}".rstrip()
    if why := asked_for.refused(asked_for.of_distribution(point.dist)):
        return Opened(point.value, door, None, version, distribution, refused=why)
    plugin, trouble = _guarded(f"importing {point.value}", point.load)
    return Opened(point.value, door, plugin, version, distribution, trouble)


def open_door(door: Door, number: int) -> Opened:
    """Load what stands behind a normal door, the `number`th of those given."""
    if isinstance(door, str):
        is_file = Path(door).is_absolute()
        if is_file and (why := asked_for.refused(asked_for.of_source(_text(Path(door))))):
            return Opened(door, "file", None, refused=why)
        load = _load_file if is_file else importlib.import_module
        plugin, trouble = _guarded(f"importing {door}", load, door)
        kind = "file" if is_file else "module"
        opened = Opened(door, kind, plugin, trouble=trouble)
        return opened if trouble else _with_version(opened)
    if isinstance(door, ModuleType):
        file = getattr(door, "__file__", None)
        return _with_version(Opened(door.__name__ + (f" ({file})" if file else ""), "module object", door))
    if inspect.isclass(door):
        plugin, trouble = _guarded(f"calling {door.__qualname__}()", door)
        return Opened(f"plugins[{number}], the class {_class_name(door)}", "class", plugin, trouble=trouble)
    return Opened(f"plugins[{number}], an object of {_class_name(type(door))}", "object", door)


def _with_version(opened: Opened) -> Opened:
    """With the version that the plugin tells; one that is no text is a trouble of the plugin."""
    try:
        return replace(opened, version=capabilities.version(opened.plugin))
    except PluginError as error:
        return replace(opened, trouble=Trouble.of("reading its version", error))


def _guarded(doing: str, load: Any, *args: Any) -> tuple[Any, Trouble | None]:
    try:
        with heavy_imports_later():
            return load(*args), None
    except (Exception, SystemExit) as error:
        return None, Trouble.of(doing, error)


def _text(path: Path) -> str:
    """A file's text; what can't be read is told when it is loaded."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _load_file(door: str) -> ModuleType:
    """Run a file as a module with a unique name, the same in every process, with its folder on the module path.

    A file that has changed since is run again, so a notebook sees the edit.
    """
    path = Path(door)
    if not path.is_file():
        raise PluginError(f"{path} is a folder, not a file" if path.is_dir() else f"there is no file {path}")
    name = f"finefuse_plugin_{path.stem}_{hashlib.sha256(door.encode()).hexdigest()[:8]}"
    source = path.read_bytes()
    loaded = sys.modules.get(name)
    if loaded is not None and vars(loaded).get("__source__") == source:
        return loaded
    _make_helpers_importable(path, source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    vars(module)["__source__"] = source
    return module


def _make_helpers_importable(path: Path, source: bytes) -> None:
    """Put a plugin's folder on the module path, last, and refuse a helper that something else would stand in for."""
    folder = path.parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    for one in imports_of(source):
        helper = one.module.partition(".")[0]
        files = (folder / f"{helper}.py", folder / helper / "__init__.py")
        if one.level or helper == CORE or not any(file.is_file() for file in files):
            continue
        loaded = sys.modules.get(helper)
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(helper)
        origin = str(spec.origin) if spec is not None else "another module"
        if os.path.realpath(origin) not in map(os.path.realpath, files):
            raise PluginError(f"its helper {helper!r} is hidden by {origin}; give it another name")
