"""Writes the pages of this folder that print docstrings: `python docs/generate.py`.

The rest of these pages is in `templates`, with a comment such as `<!-- schemes -->` where the docstrings go.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Literal

from finefuse import hookspec
from finefuse.discovery.described import ARXIV, description
from finefuse.discovery.registry import Registry
from finefuse_zoo import hooks

DOCS = Path(__file__).parent
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


PAGES = {"methods.md": methods, "hooks.md": extension_points}

if __name__ == "__main__":
    for page, content in PAGES.items():
        (DOCS / page).write_text(content(), encoding="utf-8")
        print(DOCS / page)
