"""Pages that print docstrings are what `docs/generate.py` writes, and the rest of the zoo is named beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finefuse.discovery.registry import Registry
from helpers.loading import loaded

DOCS = Path(__file__).parents[2] / "docs"
generate = loaded(DOCS / "generate.py")


@pytest.mark.parametrize("page", generate.PAGES)
def test_a_page_is_what_is_generated(page: str) -> None:
    committed = (DOCS / page).read_text(encoding="utf-8")
    assert committed == generate.PAGES[page](), f"docs/{page} is out of date: run `python docs/generate.py`"


def test_a_section_has_docstring_papers_and_parameters() -> None:
    registry = Registry(("finefuse_zoo.hooks",), entry_points=False)
    section = generate.method(registry, "fusion", "soup")
    assert section.startswith("### `soup`\n\ntheta = 1/M sum_m theta_m")
    assert "[arXiv 2203.05482](https://arxiv.org/abs/2203.05482)" in section
    assert section.endswith("\n\nParameters: `recalibrate = True`.")
    assert generate.method(registry, "scheme", "chain").rpartition("\n")[2].startswith("Parameters: `of` (required), `")
    assert generate.method(registry, "fusion", "vote").endswith("\n\nNo parameters.")


def test_metrics_data_sets_and_backbones_are_named_too() -> None:
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    told = {
        name for cell in re.findall(r"^\| (`.+?) \|", page, flags=re.MULTILINE) for name in re.findall(r"`(.+?)`", cell)
    }
    registry = Registry(("finefuse_zoo.hooks",), entry_points=False)
    names = {found.entry.name for kind in ("metric", "dataset", "backbone") for found in registry.entries(kind)}
    assert names <= told
