"""The files that a class depends on: its module and imports from its own package, found with `ast`, never run."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

CORE = "finefuse"
_INSTALLED = ("site-packages", "dist-packages")
_without_file: WeakKeyDictionary[type, str] = WeakKeyDictionary()


@dataclass(frozen=True)
class Import:
    """`from module import names`, with `level` leading dots; `import module` has no names."""

    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Home:
    """Where a class's own modules lie: below the folders of the package `top`, or in one folder if `top` is ""."""

    top: str
    folders: tuple[Path, ...]

    def find(self, module: str) -> Path | None:
        """The file of a module, or None if it belongs to none of the packages and folders that count."""
        parts = module.split(".")
        if parts[0] == CORE or self.top not in ("", parts[0]):
            return None
        for folder in self.folders:
            base = folder.joinpath(*parts[1 if self.top else 0 :])
            for file in (Path(f"{base}.py"), base / "__init__.py"):
                if file.is_file() and base != folder.parent:
                    return file
        return None

    def name(self, file: Path) -> str:
        """A file's name that doesn't depend on where the package is installed."""
        for folder in self.folders:
            if file.is_relative_to(folder):
                return (Path(self.top) / file.relative_to(folder)).as_posix()
        return file.name


def source_digests(cls: type) -> dict[str, str]:
    """{"finefuse_zoo/schemes/full.py": short digest, ...} of the files that the class depends on.

    That is its module and, transitively, what it imports of its own top-level package or, for a loose file, of its own
    folder; never the core, and nothing that is imported by a name computed at run time. A class without a file is
    known by its own source, and where that isn't kept (a notebook, the interpreter) by a digest that never repeats.
    """
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__.partition(".")[0] == CORE:
        return {}
    if file is None:
        return {f"{cls.__module__}.{cls.__qualname__}": _own_source(cls)}
    start, home = Path(file), _home(cls.__module__, Path(file))
    found: dict[Path, str] = {}
    waiting = [(cls.__module__ if home.top else start.stem, start)]
    while waiting:
        name, path = waiting.pop()
        if path in found:
            continue
        found[path], imports = _read(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for one in imports:
            waiting += _own(home, package, one)
    return {home.name(path): found[path] for path in sorted(found)}


def imports_of(source: str | bytes) -> tuple[Import, ...]:
    """Every import in a module, those inside functions too; none if it can't be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # whoever runs it is told; here it rests on nothing
        return ()
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.append(Import(node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Import):
            found += [Import(0, alias.name) for alias in node.names]
    return tuple(found)


def _home(module: str, file: Path) -> Home:
    top = module.partition(".")[0]
    folders = getattr(sys.modules.get(top), "__path__", None)
    if folders is not None:
        return Home(top, tuple(map(Path, folders)))
    return Home("", () if file.parent.name in _INSTALLED else (file.parent,))


def _own(home: Home, package: str, one: Import) -> Iterator[tuple[str, Path]]:
    """The modules and files that an import statement brings in, of those that are the class's own."""
    base = one.module
    if one.level:
        above = package.split(".")[: len(package.split(".")) - one.level + 1]
        base = ".".join([*filter(None, above), *filter(None, [one.module])])
    parts = base.split(".")
    wanted = [f"{base}.{name}" if base else name for name in one.names]
    if not one.names:  # `import a.b` binds a and runs a.b
        wanted = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    for name in wanted:
        file = home.find(name)
        if file is not None:
            yield name, file
        elif one.names and (file := home.find(base)) is not None:
            yield base, file


def _own_source(cls: type) -> str:
    if cls not in _without_file:
        try:
            text = inspect.getsource(cls)
        except (OSError, TypeError):
            text = uuid.uuid4().hex
        _without_file[cls] = _short(text.encode())
    return _without_file[cls]


def _read(path: Path) -> tuple[str, tuple[Import, ...]]:
    status = path.stat()
    return _read_once(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read_once(path: Path, _changed: int, _size: int) -> tuple[str, tuple[Import, ...]]:
    content = path.read_bytes().replace(b"\r\n", b"\n")
    return _short(content), imports_of(content) if path.suffix == ".py" else ()


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
