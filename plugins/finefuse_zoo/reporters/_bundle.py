"""The scripts of the page as one: ES modules, put together without a tool of JavaScript."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).with_name("page")
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./(\w+)\.js\";\n", re.MULTILINE)


def bundle(name: str) -> str:
    """One script with a module and all that it imports, each once and after what it needs."""
    found: dict[str, str] = {}
    _add(name, found)
    return "\n".join(found.values())


def _add(name: str, found: dict[str, str]) -> None:
    if name in found:
        return
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    for needed in _IMPORT.findall(text):
        _add(needed, found)
    found[name] = re.sub(r"^export (?=function|const|class)", "", _IMPORT.sub("", text), flags=re.MULTILINE)
