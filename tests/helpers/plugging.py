"""Plugins of tests/fixtures/plugins and others made on the spot, and what a registry says of them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from finefuse import Entry, Ref, hookimpl
from finefuse.discovery.registry import PluginInfo, Registry
from finefuse.errors import PluginError
from finefuse.types import PluginKind

PLUGINS = Path(__file__).parents[1] / "fixtures" / "plugins"


def fixture(*names: str) -> Registry:
    return Registry([str(PLUGINS / f"{name}.py") for name in names], entry_points=False)


def write(folder: Path, name: str, text: str) -> str:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(file)


def names(registry: Registry, kind: PluginKind) -> list[str]:
    return [one.entry.name for one in registry.entries(kind)]


def only_info(registry: Registry) -> PluginInfo:
    (info,) = registry.plugins()
    return info


def complaint(registry: Registry, ref: Ref | str, kind: PluginKind = "scheme") -> str:
    with pytest.raises(PluginError) as caught:
        registry.build(kind, Ref(ref) if isinstance(ref, str) else ref)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Observer:
    """A plugin that is an object, or a class: told of jobs, and providing a scheme and a suite."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def finefuse_job_done(self, job, record):
        self.seen.append(f"{job.label} {record['status']}")

    @hookimpl
    def finefuse_schemes(self):
        yield Entry("by-object", "good:Thaw")


def module_with(name: str, **attributes: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(attributes)
    return module
