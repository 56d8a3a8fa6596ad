"""docs/suite.md has every key of a suite with its default, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finefuse.declare.suite import suite_schema
from finefuse.discovery.registry import Registry

PAGE = (Path(__file__).parents[2] / "docs" / "suite.md").read_text(encoding="utf-8")
SCHEMA = suite_schema(Registry())


def keys(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The path of every key and its default as JSON, "required", or "" for a table that has keys of its own."""
    for name, found in schema["properties"].items():
        named = re.findall(r'"#/\$defs/(\w+)"', json.dumps(found))
        inner = SCHEMA["$defs"][named[0]] if named else None
        value = json.dumps(found.get("default")).replace("null", "none")
        default = value if "default" in found else "" if inner else "required"
        yield prefix + name, default
        if inner is not None:
            yield from keys(inner, f"{prefix}{name}{'.*' if name == 'pools' else ''}.")


def rows(title: str) -> list[tuple[str, ...]]:
    """The cells of the table below a heading."""
    text = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    return [tuple(cell.strip(" `") for cell in line.split("|")[1:-1]) for line in text.splitlines() if "| `" in line]


def test_every_key_is_there_with_its_default_and_no_other() -> None:
    found = [(key, default) for key, default, _ in rows("Keys")]
    assert len(found) == len(set(found))
    assert set(found) == set(keys(SCHEMA))


def test_the_keys_of_items_are_there() -> None:
    (table,) = (shape for shape in SCHEMA["properties"]["schemes"]["items"]["anyOf"] if shape.get("type") == "object")
    assert [key for key, _ in rows("Items")] == list(table["properties"])


def test_values_to_choose_from_are_told() -> None:
    settings = [SCHEMA["properties"][name] for name in ("precision", "selection")]
    choices = re.findall(r'"enum": (\[.+?\])', json.dumps([SCHEMA["$defs"], settings]))
    assert len(choices) >= 4
    for value in (value for choice in choices for value in json.loads(choice)):
        assert f'`"{value}"`' in PAGE


def test_the_built_in_suites_are_named() -> None:
    (sentence,) = re.findall(r"The built-in suites are ([^;]+);", PAGE)
    assert sorted(re.findall(r"`(.+?)`", sentence)) == sorted(Registry().suites())
