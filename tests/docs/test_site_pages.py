"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and has all there is."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from finefuse import hookspec
from finefuse.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^\"'> ]+")


def pages() -> list[str]:
    """Every page of the navigation."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    return re.findall(r"([\w/-]+\.md)$", nav, re.MULTILINE)


def test_every_page_has_its_place_in_the_navigation() -> None:
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.parent.name != "templates"}
    assert sorted(pages()) == sorted(there | {"index.md", "architecture.md"})


def test_every_hook_and_verb_has_a_heading_with_its_signature() -> None:
    headings = set(re.findall(r"^## `(.+)`$", "\n".join(p.read_text() for p in DOCS.glob("*.md")), re.MULTILINE))
    hooks = {name: hook for name, hook in vars(hookspec).items() if name.startswith("finefuse_")}
    signatures = {f"{name}{inspect.signature(hook)}".replace("'", "") for name, hook in hooks.items()}
    assert signatures <= headings
    verbs = vars(typer.main.get_command(app))["commands"]
    assert all(any(heading.split()[:2] == ["finefuse", verb] for heading in headings) for verb in verbs)


def test_every_key_of_a_suite_has_a_heading_with_its_type_and_default() -> None:
    page = (DOCS / "reference" / "keys.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## `(.+)`$", page, re.MULTILINE)
    assert "budget.epochs: integer >= 1 = 30" in headings
    assert 'precision: "fp32" | "bf16" | "fp16" = "fp32"' in headings
    listed = (DOCS / "suite.md").read_text(encoding="utf-8").split("## Keys")[1].split("## Items")[0]
    named = [key.replace("pools.*", "pools.NAME") for key in re.findall(r"^\| `([\w.*]+)` \|", listed, re.MULTILINE)]
    assert sorted(heading.partition(":")[0] for heading in headings) == sorted(named)
    assert len(re.findall(r"^[A-Z].*\.$", page, re.MULTILINE)) == len(headings), "each has a sentence"


def test_the_diagram_and_its_page_name_every_hook_and_what_observers_are_told() -> None:
    page = (DOCS / "life.md").read_text(encoding="utf-8").split("## In order")[1]
    drawn = (DOCS / "life.svg").read_text(encoding="utf-8")
    assert {name for name in vars(hookspec) if name.startswith("finefuse_")} <= set(re.findall(r"finefuse_\w+", page))
    calls = ("run_begins", "start", "job_begins", "submit", "splits", "build", "fuse", "follow", "job_ends", "stop")
    for call in (*calls, "finefuse_job_done", "run_ends"):
        assert call in drawn, call
        assert call in page, call
    order = [
        page.index(f"`{call}") for call in ("run_begins", "job_begins", "finefuse_job_done", "job_ends", "run_ends")
    ]
    assert order == sorted(order)


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("mkdocs") and find_spec("material") and find_spec("mkdocstrings")),
    reason="needs mkdocs-material and mkdocstrings: pip install '.[docs]'",
)
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    built = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("*.html")}
    assert {page.replace(".md", ".html") for page in pages()} <= built
    for page in built:
        text = (tmp_path / "site" / page).read_text(encoding="utf-8")
        assert LOADED.findall(text) == [], page
    assert 'class="doc doc-heading"' in (tmp_path / "site" / "reference" / "types.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_tutorial_works_word_by_word_in_an_empty_folder(tmp_path: Path) -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (install, *commands) = [block for kind, block in blocks if kind == "bash"]
    assert "pip install -q ." in install
    for _, block in (found for found in blocks if found[0] in ("python", "toml")):
        (tmp_path / block.split("\n")[0].removeprefix("# ")).write_text(block)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {name: str(tmp_path / name) for name in ("FINEFUSE_STORE", "FINEFUSE_CACHE")}
    source = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, **own, "PATH": path, "PYTHONPATH": source}
    done = subprocess.run(
        ["bash", "-e", "-c", "".join(commands)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "thaw(lr=0.01)" in done.stdout
    assert (tmp_path / "results" / "mine" / "leaderboard.html").is_file()
