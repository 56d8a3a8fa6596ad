"""What two rows were made with: settings, versions, machines, and the pretrained networks that cells come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from finefuse.judge.board.fairness import SETTINGS
from finefuse.judge.gate.sides import Side
from finefuse.processor import OTHERS, PINNED
from finefuse.types import Record, Settings

Pairs = Sequence[tuple[Record, Record]]
"""Rows of the same cells, the base's first."""
_SETTINGS = {setting.name for setting in fields(Settings)} | {"latency", "statistics"}
_VERSIONS = {"torch", "core", "counting of FLOPs"}
_MACHINE = {"GPU", "device kind", *OTHERS, *PINNED}
MOST = 5
"""How many differences are told; of the others only the number."""


def other_settings(pairs: Pairs) -> list[str]:
    """Settings that differ, each with the number of cells; empty if all are the same."""
    found: Counter[str] = Counter()
    for old, new in pairs:
        found.update({_was(name, old[name], new[name]) for name in SETTINGS if _differs(name, old, new)})
        found.update({said for name, said in _parts(old, new) if _is_setting(name) and name not in SETTINGS})
    return _told(found)


def other_parameters(pairs: Pairs) -> list[str]:
    """Parameters that a suite gives to its strategies and that differ, each with the number of cells."""
    return _told(Counter(_was(o["label"], o["params"], n["params"]) for o, n in pairs if _differs("params", o, n)))


def other_versions(pairs: Pairs) -> list[str]:
    """Versions that differ, each with the number of cells."""
    found: Counter[str] = Counter()
    for old, new in pairs:
        found.update({said for name, said in _parts(old, new) if _is_version(name)})
        found.update({_was("schema", old["schema"], new["schema"])} if _differs("schema", old, new) else ())
    return _told(found)


def other_machines(pairs: Pairs) -> list[str]:
    """Kinds of machine and devices that differ, each with the number of cells."""
    names = ("machine", "device")
    return _told(Counter(_was(n, o[n], new[n]) for o, new in pairs for n in names if _differs(n, o, new)))


def other_bases(base: Side, new: Side) -> list[str]:
    """Backbones whose pretrained network has other bits, though nothing of its code, data or settings differs."""
    found = []
    for cell, old in base.bases.items():
        now = new.bases.get(cell)
        made = old["status"] == "ok" and now is not None and now["status"] == "ok"
        if made and now and _bits(old) != _bits(now) and _same_code(old, now):
            found.append(str(old["backbone"]))
    return list(dict.fromkeys(found))


def fed_by(row: Record, bases: Iterable[str]) -> str:
    """Which of these pretrained networks a row's network comes from; "" if it comes from none."""
    names = {str(row["backbone"]), *str(row["backbone"]).split(" + ")}
    return next((base for base in bases if base in names), "")


def _bits(row: Record) -> object:
    return row.get("outputs") or row.get("correct") or row.get("artifact")


def _same_code(old: Record, new: Record) -> bool:
    """Whether both rows say what they were made with, and only the machine or versions differ."""
    one, two = old.get("parts") or {}, new.get("parts") or {}
    differing = {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}
    return bool(one and two) and not any(map(is_code, differing))


def _parts(old: Record, new: Record) -> Iterator[tuple[str, str]]:
    """The parts of a key that both rows have and that differ, by name, with a sentence."""
    one, two = old.get("parts") or {}, new.get("parts") or {}
    for name in one.keys() & two.keys():
        if one[name] != two[name]:
            yield name, _was(name, one[name], two[name])


def _is_setting(name: str) -> bool:
    return name in _SETTINGS or name.startswith("budget: ")


def _is_version(name: str) -> bool:
    return name in _VERSIONS or name.startswith("version of ")


def is_code(name: str) -> bool:
    """Whether a part is neither of the machine nor the version of something that this project uses."""
    machine = name in _MACHINE or name.startswith("instruction")
    return not machine and (name == "core" or not _is_version(name))


def _differs(name: str, old: Record, new: Record) -> bool:
    return name in old and name in new and old[name] != new[name]


def _was(name: str, old: object, new: object) -> str:
    one, two = (text if isinstance(text, str) else json.dumps(text, sort_keys=True) for text in (old, new))
    return f"{name} was {one} and is {two}"


def _told(found: Counter[str]) -> list[str]:
    listed = [f"{said} ({count} row{'s' * (count > 1)})" for said, count in sorted(found.items(), key=_often)]
    more = len(listed) - MOST
    return [*listed[:MOST], *([f"and {more} more"] if more > 0 else [])]


def _often(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
