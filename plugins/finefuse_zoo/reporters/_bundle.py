"""The scripts of the page as one: ES modules, put together without a tool of JavaScript."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).with_name("page")
_IMPORT = re.compile(r"^import (\{[^}]*\}) from \"\./(\w+)\.js\";$", re.MULTILINE)
_EXPORT = re.compile(r"^export (async function|function|const|class) (\w+)", re.MULTILINE)


def bundle(*names: str) -> str:
    """One script with modules and all that they import, each once, after what it needs, and with its own names."""
    found: dict[str, str] = {}
    for name in names:
        _add(name, found)
    return "\n".join(found.values())


def _add(name: str, found: dict[str, str]) -> None:
    if name in found:
        return
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    for _, needed in _IMPORT.findall(text):
        _add(needed, found)
    exported = ", ".join(what for _, what in _EXPORT.findall(text))
    body = _EXPORT.sub(r"\1 \2", _IMPORT.sub(r"const \1 = \2Module;", text))
    found[name] = f"const {name}Module = (() => {{\n{body}return {{ {exported} }};\n}})();\n"
