"""Names for people: what a board calls its data sets, backbones and strategies, with no more than tells them apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import PurePosixPath, PureWindowsPath

from finefuse.types import Cell, Record

JOINED = " + "
"""Between the parts of a pool across data sets or backbones."""
CALLED = "name"
"""The parameter that says what a plugin stands for, such as the network of a library."""
PARTS = frozenset({"train", "training", "test", "images", "data"})
"""Folders and files that are called after what part of the data they hold."""
SHORTEST = 3
"""Letters that a common beginning of file names must have to be a name."""
_WHOLE = re.compile(r"([^\s()]+)\((.+)\)", re.DOTALL)
_PARAMETER = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
_BETWEEN = "-_. "
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Names:
    """Short names by the names in full; anything else keeps its own."""

    things: Mapping[str, str] = field(default_factory=dict)
    strategies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, things: Iterable[str], labels: Iterable[str]) -> Names:
        """The names of data sets and backbones, and of schemes and fusions."""
        whole = dict.fromkeys(things)
        parts = dict.fromkeys(part for name in whole for part in split(name, JOINED))
        short = _told_apart({name: _read(name, called=True) for name in parts})
        joined = {name: JOINED.join(short[part] for part in split(name, JOINED)) for name in whole}
        return cls(joined, _told_apart({label: _read(label, called=False) for label in dict.fromkeys(labels)}))

    @classmethod
    def in_rows(cls, rows: Iterable[Record]) -> Names:
        """The same of all that has a line."""
        cells = [cell for cell in map(Cell.of, rows) if cell.has_line]
        return cls.of((name for cell in cells for name in cell[1:3]), (cell.label for cell in cells))

    def thing(self, name: str) -> str:
        """The short name of a data set or backbone."""
        return self.things.get(name, name)

    def strategy(self, label: str) -> str:
        """The short name of a scheme or fusion."""
        return self.strategies.get(label, label)

    def in_full(self) -> list[str]:
        """`ants: folder(train=/data/ants)` for each name that was shortened, parts of pools only once."""
        known = {**self.things, **self.strategies}
        return [f"{short}: {name}" for name, short in known.items() if short != name and JOINED not in short]


@dataclass(frozen=True)
class _Thing:
    """A name that was taken apart: what it is of, and parameters; `title` is what it is called without these."""

    base: str
    title: str
    parameters: Mapping[str, str]


def _read(text: str, *, called: bool) -> _Thing:
    """Take a name apart; one that isn't a name with parameters in brackets is a title as it is.

    With `called`, a parameter may say what the thing is called: a name, or where its files are.
    """
    found = _WHOLE.fullmatch(text)
    parameters = _parameters(found[2]) if found else {}
    if not found or not parameters:
        return _Thing(text, text, {})
    return _Thing(found[1], (called and _title(parameters)) or found[1], parameters)


def _parameters(text: str) -> dict[str, str]:
    """`a=1, b=[2, 3]` as a dictionary; empty if it isn't such a text. A comma in a value may be part of it."""
    found: dict[str, str] = {}
    last = ""
    for piece in split(text, ", "):
        if parameter := _PARAMETER.fullmatch(piece):
            last = parameter[1]
            found[last] = parameter[2]
        elif last:
            found[last] += f", {piece}"
        else:
            return {}
    return found


def split(text: str, at: str) -> list[str]:
    """The parts of a text between separators that are not in brackets; the whole where brackets don't match."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if depth < 0:
            return [text]
        if not depth and i >= start and text.startswith(at, i):
            parts.append(text[start:i])
            start = i + len(at)
    return [text] if depth else [*parts, text[start:]]


def _title(parameters: Mapping[str, str]) -> str:
    """What parameters say that something is called; "" if nothing does."""
    if CALLED in parameters:
        return parameters[CALLED]
    paths = [_components(value) for value in parameters.values() if _is_path(value)]
    if not paths:
        return ""
    *folders, last = paths[0]
    if len(paths) > 1:
        common = _common([path[:-1] for path in paths])
        stems = [_stem(path[-1]) for path in paths]
        same = len(common) == len(folders) and all(len(path) == len(paths[0]) for path in paths)
        start = _beginning(stems) if same else ""
        return start if len(start) >= SHORTEST and start not in PARTS else (common[-1] if common else "")
    stem = _stem(last)
    return folders[-1] if stem in PARTS and folders else stem


def _beginning(stems: Sequence[str]) -> str:
    """The words that all begin with: `ants` of `ants-train` and `ants-test`."""
    start = "".join(_common(stems))
    if any(stem[len(start) :][:1] not in ("", *_BETWEEN) for stem in stems):
        start = start[: max(map(start.rfind, _BETWEEN)) + 1]
    return start.strip(_BETWEEN)


def _common(sequences: Sequence[Sequence[str]]) -> list[str]:
    """What all begin with."""
    return [each[0] for each in takewhile(lambda each: len(set(each)) == 1, zip(*sequences, strict=False))]


def _is_path(value: str) -> bool:
    """Whether it is an absolute path, as suites resolve all of them to."""
    return PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


@cache
def _components(path: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[/\\]+", path) if part)


def _stem(name: str) -> str:
    """A file's name without its ending, which is of letters: `v1.2` is not one."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and stem and ending.isalpha() else name


def _told_apart(things: Mapping[str, _Thing]) -> dict[str, str]:
    """A short name for each: its title, with the parameters in which things of one title differ; all are distinct."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, thing in things.items():
        groups[thing.title].append(name)
    short: dict[str, str] = {}
    for title, names in groups.items():
        group = [things[name] for name in names]
        told = [_with_parameters(title, thing, group) for thing in group]
        short |= dict(zip(names, told, strict=True))
    taken = defaultdict(list)
    for name, text in short.items():
        taken[text].append(name)
    clashing = {name for text, names in taken.items() if len(names) > 1 or names[0] != text in short for name in names}
    return {name: name if name in clashing else text for name, text in short.items()}


def _with_parameters(title: str, thing: _Thing, group: Sequence[_Thing]) -> str:
    """A title, with what else distinguishes this thing from the others of its group."""
    alike = [other for other in group if other.base == thing.base]
    names = dict.fromkeys(name for other in alike for name in other.parameters)
    differing = [name for name in names if len({other.parameters.get(name) for other in alike}) > 1]
    told = [
        f"{name}={_least(thing.parameters[name], [other.parameters.get(name, '') for other in alike])}"
        for name in differing
        if name in thing.parameters
    ]
    of = [thing.base] if len(alike) < len(group) and thing.base != title else []
    return f"{title}({', '.join([*of, *told])})" if of or told else title


def _least(value: str, others: Sequence[str]) -> str:
    """As much of the end of a path as tells it from the others, two parts at least; any other value as it is."""
    if not _is_path(value):
        return value
    own, rest = _components(value), [_components(other) for other in others if other != value]
    for count in range(2, len(own)):
        if all(other[-count:] != own[-count:] for other in rest):
            return "/".join(own[-count:])
    return value
