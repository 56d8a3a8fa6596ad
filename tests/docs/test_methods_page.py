"""docs/methods.md has every built-in method, with its parameters, defaults and papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finefuse.cli.show import ARXIV, description
from finefuse.discovery.registry import Registry

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
REGISTRY = Registry(entry_points=True)
METHODS = [
    (kind, found.entry.name)
    for kind in ("scheme", "fusion")
    for found in REGISTRY.entries(kind)
    if found.distribution == "finefuse"
]


def section(kind: str, name: str) -> str:
    """What stands below the heading of a method, on one line."""
    chapter = PAGE.split(f"\n## {kind.capitalize()}s\n")[1].split("\n## ")[0]
    (text,) = re.findall(rf"^### `{re.escape(name)}`$(.*?)(?=^### |\Z)", chapter, flags=re.MULTILINE | re.DOTALL)
    return " ".join(text.split())


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_method_has_one_section_with_its_parameters_and_defaults(kind: str, name: str) -> None:
    text = section(kind, name)
    for parameter in REGISTRY.parameters(kind, name):  # type: ignore[arg-type]
        told = f"`{parameter.name}` (required)" if parameter.default == "required" else f"{parameter.default}`"
        assert told in text, f"{parameter.name} = {parameter.default}"
        assert re.search(rf"`{parameter.name}\b", text), parameter.name


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_the_paper_a_method_names_is_named_here(kind: str, name: str) -> None:
    text = section(kind, name)
    papers = ARXIV.findall(description(REGISTRY.target(kind, name)))  # type: ignore[arg-type]
    for paper in papers:
        assert paper in text or "same paper" in text, paper


@pytest.mark.parametrize("kind", ["metric", "dataset", "backbone"])
def test_the_rest_of_the_zoo_is_named(kind: str) -> None:
    cells = re.findall(r"^\| (`.+?) \|", PAGE, flags=re.MULTILINE)
    told = {name for cell in cells for name in re.findall(r"`(.+?)`", cell)}
    names = {found.entry.name for found in REGISTRY.entries(kind) if found.distribution == "finefuse"}  # type: ignore[arg-type]
    assert names <= told


def test_papers_are_written_so_that_they_can_be_found() -> None:
    assert set(ARXIV.findall(PAGE)) == set(re.findall(r"arXiv\s(\d{4}\.\d{4,5})", PAGE)) != set()
