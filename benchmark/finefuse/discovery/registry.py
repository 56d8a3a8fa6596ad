"""Finds plugins, says who provides what, and builds them from names and parameters. The only caller of pluggy."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import pluggy

from finefuse import hookspec
from finefuse.discovery import parameters
from finefuse.discovery.doors import ENTRY_POINT, Door, Opened, Trouble, normal, open_door, open_entry_point
from finefuse.discovery.lazy import heavy_imports_later
from finefuse.discovery.parameters import Parameter
from finefuse.discovery.signatures import misfit
from finefuse.errors import PluginError, did_you_mean
from finefuse.types import Entry, Job, PluginKind, Record, Ref
from finefuse.types.entries import ROLES

__all__ = ["Door", "Parameter", "PluginInfo", "Provided", "Registry"]

T = TypeVar("T")
GROUP = "finefuse"
"""The group of entry points, and the name of pluggy's hooks."""
DISTRIBUTION = "finefuse"
"""What the core is installed as, with the built-in plugins."""
KINDS: tuple[PluginKind, ...] = get_args(PluginKind)
_ADDRESS = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


@dataclass(frozen=True)
class Provided(Generic[T]):
    """An entry and who provides it: `provider` as a person would name it, a module or a file."""

    kind: PluginKind
    entry: Entry[T]
    provider: str
    version: str
    distribution: str

    @property
    def shipped(self) -> bool:
        """Whether it comes in the same distribution as the core."""
        return self.distribution == DISTRIBUTION

    @property
    def missing(self) -> str:
        """What it lacks and how to install it, as the end of a sentence; "" if it can be used."""
        lacking = [module for module in self.entry.requires if not _importable(module)]
        if not lacking:
            return ""
        by_extra = self.distribution and self.entry.extra
        what = f"'{self.distribution}[{self.entry.extra}]'" if by_extra else " ".join(lacking)
        return f"needs {' and '.join(lacking)}: pip install {what}"


@dataclass(frozen=True)
class PluginInfo:
    """The state of one plugin. `reason` and `traceback` say what is wrong with one that can't be used."""

    name: str
    version: str
    door: str
    hooks: tuple[str, ...]
    status: Literal["ok", "broken", "not usable"]
    reason: str
    traceback: str
    distribution: str = ""


class _Plugin:
    """One plugin with its own pluggy manager, so each is called, and may fail, separately."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.troubles = [opened.trouble] if opened.trouble else []
        self.hooks: tuple[str, ...] = ()
        self.provided: list[Provided[Any]] = []
        self.suites: list[Path] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspec)
        if opened.plugin is None:
            return
        try:
            self._register()
        except (Exception, SystemExit) as error:  # pluggy's, about arguments that don't fit, or a hostile attribute's
            self.troubles.append(Trouble.of("registering it", error))
        self._collect()

    def info(self) -> PluginInfo:
        """Its state."""
        opened, troubles = self.opened, self.troubles
        reason = opened.refused or "; ".join(trouble.reason for trouble in troubles)
        trace = "\n".join(trouble.traceback for trouble in troubles)
        status: Literal["ok", "broken", "not usable"] = "broken" if troubles else "ok"
        if opened.refused:
            status = "not usable"
        where = opened.provider, opened.version, opened.door
        return PluginInfo(*where, self.hooks, status, reason, trace, opened.distribution)

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """What the plugin's implementation of a hook returns, as pluggy's list of at most one."""
        return list(getattr(self._manager.hook, hook)(**arguments))

    def _register(self) -> None:
        self._manager.register(self.opened.plugin, self.opened.provider)
        callers = self._manager.get_hookcallers(self.opened.plugin) or []
        self.hooks = tuple(sorted(caller.name for caller in callers if caller.has_spec()))
        known = [name for name in vars(hookspec) if name.startswith("finefuse_")]
        for caller in callers:
            if not caller.has_spec():
                hint = did_you_mean(caller.name, known) or f"; the hooks are {', '.join(known)}"
                self.troubles.append(Trouble(f"there is no hook {caller.name!r}{hint}"))
        if not callers:
            self.troubles.append(Trouble("it has no hooks; mark its functions with @finefuse.hookimpl"))

    def _collect(self) -> None:
        opened = self.opened
        for kind in KINDS:
            for entry in self._yielded(f"finefuse_{kind}s"):
                if reason := _fault(kind, entry):
                    self.troubles.append(Trouble(f"finefuse_{kind}s yielded {entry!r}, {reason}"))
                else:
                    found = Provided(kind, entry, opened.provider, opened.version, opened.distribution)
                    self.provided.append(found)
        for path in self._yielded("finefuse_suites"):
            if isinstance(path, str | Path):
                self.suites.append(Path(path))
            else:
                self.troubles.append(Trouble(f"finefuse_suites yielded {path!r}, which is not a path"))

    def _yielded(self, hook: str) -> list[Any]:
        if hook not in self.hooks:
            return []
        try:
            with heavy_imports_later():
                return [item for result in self.call(hook) for item in result]
        except (Exception, SystemExit) as error:
            self.troubles.append(Trouble.of(hook, error))
            return []


class Registry:
    """All plugins: those of installed distributions, then those given by `doors`.

    A plugin that breaks is listed as broken; what its sound hooks provide can be used.
    """

    def __init__(self, doors: Sequence[Door] = (), *, entry_points: bool = True) -> None:
        self.doors: tuple[Door, ...] = tuple(map(normal, doors))
        self._plugins: list[_Plugin] = []
        self._provided: dict[PluginKind, list[Provided[Any]]] = {kind: [] for kind in KINDS}
        self._suites: dict[str, tuple[Path, str]] = {}
        self._targets: dict[tuple[PluginKind, str], type] = {}
        seen: set[object] = set()
        for opened in self._open(entry_points):
            if opened.identity not in seen:
                seen.add(opened.identity)
                self._admit(_Plugin(opened))
        for provided in self._provided.values():
            provided.sort(key=lambda one: one.entry.name)

    def entries(self, kind: PluginKind) -> list[Provided[Any]]:
        """All entries of a kind, by name; a name that clashes is there more than once."""
        return list(self._provided[kind])

    def find(self, kind: PluginKind, name: str) -> Provided[Any]:
        """The entry of this name.

        Raises:
            PluginError: if no plugin provides it, or more than one.
        """
        found = [one for one in self._provided[kind] if one.entry.name == name]
        if not found:
            raise PluginError(self._unknown(kind, name))
        if len(found) > 1:
            by = " and by ".join(map(_origin, found))
            raise PluginError(f"{kind} {name!r} is provided {len(found)} times, by {by}; leave out or rename one")
        return found[0]

    def default(self, kind: PluginKind, role: str) -> str:
        """The name that fills a role where none is given.

        Raises:
            PluginError: if no entry claims it in `default_for`, or more than one.
        """
        found = [one for one in self._provided[kind] if role in one.entry.default_for]
        if not found:
            raise PluginError(f"no plugin provides {article(kind)} that is the default for {role!r}; name one")
        if len(found) > 1:
            claims = " and ".join(f"{one.entry.name!r} of {_origin(one)}" for one in found)
            raise PluginError(f"{claims} both claim to be the default {kind} for {role!r}; name one")
        return found[0].entry.name

    def sole(self, kind: PluginKind, role: str) -> str:
        """The name that alone fills a role that nothing depends on; "" if none or several claim it."""
        found = [one.entry.name for one in self._provided[kind] if role in one.entry.default_for]
        return found[0] if len(found) == 1 else ""

    def target(self, kind: PluginKind, name: str) -> type:
        """The class behind a name, imported on first use.

        Raises:
            PluginError: as `find` does, and if the class can't be imported or lacks what its kind must have.
        """
        if (kind, name) not in self._targets:
            self._targets[kind, name] = _import(self.find(kind, name))
        return self._targets[kind, name]

    def build(self, kind: PluginKind, ref: Ref) -> Any:
        """A plugin with its parameters, all checked.

        Raises:
            ParameterError: if a parameter is unknown, missing, or of the wrong type or size.
            PluginError: as `target` does, and if a module that it requires is not installed.
        """
        if missing := self.find(kind, ref.name).missing:
            raise PluginError(f"{kind} {ref.name!r} is unavailable: it {missing}")
        return parameters.make(self.target(kind, ref.name), ref.kwargs, f"{kind} {ref.name!r}")

    def resolved(self, kind: PluginKind, ref: Ref) -> dict[str, Any]:
        """All parameters of a plugin, defaults included, as JSON would hold them; errors as in `build`."""
        return parameters.resolved(self.build(kind, ref))

    def parameters(self, kind: PluginKind, name: str) -> list[Parameter]:
        """What parameters a plugin takes; errors as in `target`."""
        return parameters.list_parameters(self.target(kind, name), f"{kind} {name!r}")

    def suites(self) -> dict[str, Path]:
        """The files of suites that can be run by name. Of two with one name the first holds, the other is broken."""
        return {name: path for name, (path, _) in self._suites.items()}

    def suite_files(self) -> list[tuple[Path, str]]:
        """The same files, each with the plugin that provides it."""
        return list(self._suites.values())

    def plugins(self) -> list[PluginInfo]:
        """Every plugin that was found, sound or broken."""
        return [plugin.info() for plugin in self._plugins]

    def suspicion(self) -> str:
        """The end of a sentence about an unknown name: that a broken plugin may have it; "" if none is broken."""
        broken = [info.name for info in self.plugins() if info.status != "ok"]
        return f" (or a broken plugin may have it, {_few(broken)}: see `finefuse plugins`)" if broken else ""

    def complaints(self) -> list[str]:
        """A sentence for each plugin that was asked for and can't be used, and one for all others that can't."""
        unusable = [info for info in self.plugins() if info.status != "ok"]
        asked = [info for info in unusable if not info.door.startswith(ENTRY_POINT)]
        others = [info.name for info in unusable if info not in asked]
        told = [f"plugin {info.name} is {info.status}: {info.reason}" for info in asked]
        if others:
            what = f"{len(others)} other plugin{'s are' if len(others) > 1 else ' is'}"
            told.append(f"{what} broken or not usable, {_few(others)}: see `finefuse plugins`")
        return told

    def job_done(self, job: Job, record: Record) -> list[str]:
        """Tell every observer of a finished job; what they raise comes back as one sentence each."""
        complaints = []
        for plugin in self._plugins:
            if "finefuse_job_done" not in plugin.hooks:
                continue
            try:
                plugin.call("finefuse_job_done", job=job, record=dict(record))
            except (Exception, SystemExit) as error:
                trouble = Trouble.of("finefuse_job_done", error)
                complaints.append(f"plugin {plugin.opened.provider}: {trouble.reason}, at {job.cell}")
        return complaints

    def _open(self, entry_points: bool) -> Iterator[Opened]:
        if entry_points:
            points = metadata.entry_points(group=GROUP)
            yield from map(open_entry_point, sorted(points, key=attrgetter("value", "name")))
        for number, door in enumerate(self.doors):
            yield open_door(door, number)

    def _admit(self, plugin: _Plugin) -> None:
        self._plugins.append(plugin)
        for one in plugin.provided:
            self._provided[one.kind].append(one)
        for path in plugin.suites:
            first, owner = self._suites.setdefault(path.stem, (path, plugin.opened.provider))
            if first != path:
                reason = f"suite {path.stem!r} at {path} is hidden by the one of {owner} at {first}"
                plugin.troubles.append(Trouble(reason))

    def _unknown(self, kind: PluginKind, name: str) -> str:
        names = sorted({one.entry.name for one in self._provided[kind]})
        others = [other for other in KINDS if any(one.entry.name == name for one in self._provided[other])]
        hint = f"; {name!r} is {article(others[0])}" if others else did_you_mean(name, names)
        hint = hint or (f"; there is {', '.join(names)}" if names else "; no plugin provides one")
        return f"there is no {kind} {name!r}{hint}{self.suspicion()}"


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def article(kind: str) -> str:
    """A kind with its article."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _fault(kind: PluginKind, entry: object) -> str:
    """What is wrong with an entry, as the end of a sentence; "" if it is sound."""
    malformed = 'which is no Entry(name, class or "module:Class")'
    if not isinstance(entry, Entry) or not isinstance(entry.name, str) or not entry.name.strip():
        return malformed
    if not isinstance(entry.requires, tuple) or not all(str(module).isidentifier() for module in entry.requires):
        return malformed
    target = entry.target
    if not isinstance(target, type) and not (isinstance(target, str) and _ADDRESS.fullmatch(target)):
        return malformed
    if not isinstance(entry.default_for, tuple) or not all(isinstance(role, str) for role in entry.default_for):
        return "whose default_for is not a tuple of strings"
    if not isinstance(entry.on_request, bool) or (entry.on_request and kind != "reporter"):
        return "whose on_request is for reporters, and True or False"
    for role in entry.default_for if kind != "metric" else ():
        if role not in ROLES.get(kind, ()):
            known = ROLES.get(kind, ())
            hint = did_you_mean(role, known) or (f"; there is {', '.join(known)}" if known else "")
            return f"and no {kind} can be the default for {role!r}{hint}"
    return ""


def _importable(module: str) -> bool:
    """Whether a top-level module is installed, without importing it."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def _origin(one: Provided[Any]) -> str:
    return f"{one.provider} ({one.distribution} {one.version})" if one.distribution else one.provider


def _import(one: Provided[Any]) -> type:
    target, who = one.entry.target, f"{one.kind} {one.entry.name!r} of {_origin(one)}"
    if isinstance(target, str):
        module, _, path = target.partition(":")
        try:
            with heavy_imports_later():
                target = attrgetter(path)(importlib.import_module(module))
        except (Exception, SystemExit) as error:
            if one.missing:
                raise PluginError(f"{one.kind} {one.entry.name!r} is unavailable: it {one.missing}") from error
            raise PluginError(f"{who}: {Trouble.of(f'importing {target}', error).reason}") from error
    if not isinstance(target, type):
        raise PluginError(f"{who}: {one.entry.target} is not a class")
    if wrong := misfit(one.kind, target):
        raise PluginError(f"{who}: {target.__module__}.{target.__qualname__} {wrong}")
    return target
