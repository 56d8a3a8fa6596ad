"""Writes the pages of this folder that print docstrings: `python docs/generate.py`.

The rest of these pages is in `templates`, with a comment such as `<!-- schemes -->` where the docstrings go.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from finefuse import hookspec
from finefuse.declare.suite import suite_schema
from finefuse.discovery.described import ARXIV, description
from finefuse.discovery.registry import Registry
from finefuse_zoo import hooks

DOCS = Path(__file__).parent
KEYS = """# Every key of a suite

From the schema that checks a suite (`finefuse schema` prints it): type, bounds and default. [The suite
file](../suite.md) explains them."""
PAPER = re.compile(rf"(?:arXiv )?({ARXIV.pattern})")


def methods() -> str:
    """docs/methods.md: every scheme and fusion, in the order of the zoo's table of contents."""
    registry = Registry(("finefuse_zoo.hooks",), entry_points=False)
    schemes = [method(registry, "scheme", entry.name) for entry in hooks.finefuse_schemes()]
    fusions = [method(registry, "fusion", entry.name) for entry in hooks.finefuse_fusions()]
    return filled("methods.md", schemes=schemes, fusions=fusions)


def method(registry: Registry, kind: Literal["scheme", "fusion"], name: str) -> str:
    """A section: docstring and parameters."""
    text = PAPER.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", description(registry.target(kind, name)))
    told = [
        f"`{one.name}` (required)" if one.default == "required" else f"`{one.name} = {one.default}`"
        for one in registry.parameters(kind, name)
    ]
    return f"### `{name}`\n\n{text}\n\n{'Parameters: ' + ', '.join(told) if told else 'No parameters'}."


def extension_points() -> str:
    """docs/hooks.md: every hook with its signature."""
    found = [hook for name, hook in vars(hookspec).items() if name.startswith("finefuse_")]
    return filled("hooks.md", hooks=[f"## {signature(hook)}\n\n{inspect.getdoc(hook)}" for hook in found])


def signature(hook: object) -> str:
    """`name(arguments) -> result`, as code."""
    return f"`{hook.__name__}{inspect.signature(hook)}`".replace("'", "")  # type: ignore[attr-defined, arg-type]


def filled(name: str, **sections: list[str]) -> str:
    """A template with sections in the places of its comments."""
    page = (DOCS / "templates" / name).read_text(encoding="utf-8")
    for place, texts in sections.items():
        before, after = page.split(f"<!-- {place} -->")
        page = before + "\n\n".join(texts) + after
    return page


def suite_keys() -> str:
    """docs/reference/keys.md: every key of a suite with its type, default and bounds."""
    schema = suite_schema(Registry(("finefuse_zoo.hooks",), entry_points=False))
    sections = [
        f"## `{path}{told_type(found)}`\n\n{found.get('description') or found_in(found, schema)}"
        for path, found in all_keys(schema, schema)
    ]
    return "\n\n".join([KEYS, *sections]) + "\n"


def all_keys(shape: Mapping[str, Any], schema: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a table with their paths, and those of the tables in it."""
    for name, found in shape["properties"].items():
        yield before + name, {**found, "required": name in shape.get("required", ())}
        for inner in re.findall(r'"#/\$defs/(\w+)"', json.dumps(found))[:1]:
            yield from all_keys(schema["$defs"][inner], schema, f"{before}{name}{'.NAME' if name == 'pools' else ''}.")


def found_in(found: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What the table that a key holds is for."""
    return str(schema["$defs"][re.findall(r'"#/\$defs/(\w+)"', json.dumps(found))[0]]["description"])


def told_type(found: Mapping[str, Any]) -> str:
    """`: integer >= 1 = 30`."""
    default = "" if found["required"] else f" = {json.dumps(found['default'])}" if "default" in found else ""
    return f": {type_of(found)}{default.replace('null', 'none')}"


def type_of(found: Mapping[str, Any]) -> str:
    """A type of JSON Schema in a line."""
    if "enum" in found:
        return " | ".join(map(json.dumps, found["enum"]))
    if "const" in found:
        return json.dumps(found["const"])
    if "anyOf" in found:
        named = [one for one in found["anyOf"] if "enum" not in one]  # the names of plugins stand beside any text
        return " | ".join(dict.fromkeys(map(type_of, named)))
    if found.get("type") == "array":
        return f"list of ({type_of(found['items'])})"
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    told = [f"{sign} {found[name]}" for name, sign in bounds.items() if name in found]
    return " ".join([{"null": "none", "object": "table"}.get(found.get("type", ""), found.get("type", "table")), *told])


PAGES = {"methods.md": methods, "hooks.md": extension_points, "reference/keys.md": suite_keys}

if __name__ == "__main__":
    for page, content in PAGES.items():
        (DOCS / page).write_text(content(), encoding="utf-8")
        print(DOCS / page)
