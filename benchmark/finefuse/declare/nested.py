"""Plugins as parameters of others: their paths are relative to the suite's folder, and the files they read count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.files import content_digest
from finefuse.types import PluginKind, Ref, Spec

INSIDE: Mapping[PluginKind, PluginKind] = {
    "dataset": "dataset",
    "backbone": "dataset",
    "scheme": "scheme",
    "fusion": "scheme",
}
"""What a `Spec` among the parameters of each kind names: a backbone's source is a data set."""


class Known(Protocol):
    """What has to be known of plugins here; `Facts` knows it."""

    @property
    def registry(self) -> Registry:
        """Who there is."""

    def parameters_of(self, kind: PluginKind, name: str, of: Any) -> frozenset[str]:
        """Names of the parameters whose type mentions another."""

    def content(self, kind: PluginKind, ref: Ref) -> str:
        """The fingerprint of what a data set or backbone reads."""


def anchored(
    facts: Known,
    folder: Path,
    kind: PluginKind,
    name: str,
    params: Mapping[str, Any],
    inside: PluginKind | None = None,
) -> dict[str, Any]:
    """The parameters with relative paths made relative to the suite's folder, in nested plugins too.

    These are of the kind `inside`; without it, as `INSIDE` says.
    """
    inside = inside or INSIDE.get(kind)
    paths = facts.parameters_of(kind, name, Path)
    specs = facts.parameters_of(kind, name, Spec)

    def from_folder(value: Any) -> Any:
        return str(folder / Path(value).expanduser()) if isinstance(value, str) else value

    def within(value: Any) -> Any:
        return value if inside is None else _anchored_spec(facts, folder, inside, value)

    found = {
        key: each(from_folder, value) if key in paths else each(within, value) if key in specs else value
        for key, value in params.items()
    }
    if kind != "scheme" or inside is None or not capabilities.searches(facts.registry.target(kind, name)):
        return found

    def choice(inner: str, parameter: str, value: Any) -> Any:
        return anchored(facts, folder, inside, inner, {parameter: value})[parameter]

    return {key: _each_choice(facts, inside, found.get("of"), value, choice) for key, value in found.items()}


def _each_choice(facts: Known, kind: PluginKind, of: Any, value: Any, change: Callable[[str, str, Any], Any]) -> Any:
    """Ranges for the parameters of the plugin `of`, with each of their choices changed; anything else is unchanged."""
    inner = of["use"] if _is_table(facts, kind, of) else of
    if not _is_table(facts, kind, {"use": inner}) or not isinstance(value, Mapping):
        return value
    return {
        parameter: {**given, "choices": [change(inner, parameter, one) for one in given["choices"]]}
        if isinstance(given, Mapping) and isinstance(given.get("choices"), list | tuple)
        else given
        for parameter, given in value.items()
    }


def _anchored_spec(facts: Known, folder: Path, kind: PluginKind, spec: Any) -> Any:
    if not _is_table(facts, kind, spec):
        return spec
    params = {key: value for key, value in spec.items() if key != "use"}
    return {"use": spec["use"], **anchored(facts, folder, kind, spec["use"], params)}


def all_named(facts: Known, kind: PluginKind, ref: Ref) -> Iterator[tuple[PluginKind, Ref]]:
    """A plugin and those among its parameters, at any depth."""
    yield kind, ref
    inside, found = INSIDE.get(kind), list[Ref]()

    def within(spec: Any) -> Any:
        if inside is not None and (isinstance(spec, str) or _is_table(facts, inside, spec)):
            found.append(Ref.read(spec))
        return spec

    for key in facts.parameters_of(kind, ref.name, Spec) & ref.kwargs.keys():
        each(within, ref.kwargs[key])
    for inner in found:
        assert inside is not None
        yield from all_named(facts, inside, inner)


def by_content(facts: Known, inside: PluginKind | None, value: Any) -> Any:
    """A parameter with what nested plugins of a kind read in place of where it lies, as a key needs it."""
    return value if inside is None else each(lambda spec: _spec_by_content(facts, inside, spec), value)


def choices_by_content(facts: Known, kind: PluginKind, search: Any, value: Any) -> Any:
    """A parameter of a search with the content of files in place of their paths among the choices of its ranges.

    `kind` is that of what it is for.
    """

    def choice(inner: str, parameter: str, one: Any) -> Any:
        found = _spec_by_content(facts, kind, {"use": inner, parameter: one})
        return found.get(parameter, found.get("content"))

    return _each_choice(facts, kind, search.of, value, choice)


def _spec_by_content(facts: Known, kind: PluginKind, spec: Any) -> Any:
    if not _is_table(facts, kind, spec):
        return spec
    paths, specs = (facts.parameters_of(kind, spec["use"], what) for what in (Path, Spec))
    inside = INSIDE.get(kind)
    found = {key: by_content(facts, inside, value) if key in specs else value for key, value in spec.items()}
    if given := {key for key in paths & spec.keys() if _has_text(spec[key])}:
        found = {key: value for key, value in found.items() if key not in given}
        found["content"] = (
            facts.content("dataset", Ref.read(spec))
            if kind == "dataset"
            else {key: each(file_content, spec[key]) for key in sorted(given)}
        )
    return found


def _has_text(value: Any) -> bool:
    """Whether a parameter that may be a path is one; a share of the rows, say, is not."""
    found: list[bool] = []
    each(lambda one: found.append(isinstance(one, str)), value)
    return any(found)


def file_content(path: Any) -> Any:
    """The digest of a file or folder in place of its path; anything else is unchanged."""
    there = isinstance(path, str) and (Path(path).is_file() or Path(path).is_dir())
    return content_digest(Path(path)) if there else path


def _is_table(facts: Known, kind: PluginKind, spec: Any) -> bool:
    """Whether it names a plugin that is known; what is wrong with any other is said when it is checked."""
    return isinstance(spec, Mapping) and any(spec.get("use") == p.entry.name for p in facts.registry.entries(kind))


def each(change: Callable[[Any], Any], value: Any) -> Any:
    """Change a value, or every value of a list or of a table that names no plugin."""
    if isinstance(value, list | tuple):
        return [each(change, one) for one in value]
    if isinstance(value, Mapping) and "use" not in value:
        return {key: each(change, one) for key, one in value.items()}
    return change(value)
