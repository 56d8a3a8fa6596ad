"""A hook of MkDocs: brings in pages that lie beside this folder, and turns links that lead out of it into text."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = {"index.md": "README.md", "architecture.md": "ARCHITECTURE.md"}
"""Pages of the site that are files of the repository's root."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add these pages, and the pictures that they show."""
    for page, name in BESIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
        for mark, _, target in LINK.findall(text):
            if mark and "://" not in target:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Change the links outside of blocks of code."""
    source = BESIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    blocks, texts = CODE.findall(markdown), CODE.split(markdown)
    changed = [LINK.sub(lambda link: _changed(link, source), text) for text in texts]
    return "".join(part for pair in zip(changed, [*blocks, ""], strict=True) for part in pair)


def _changed(link: re.Match[str], source: str) -> str:
    """A link as the site needs it: to a page of its own, or the words with the path where there is none."""
    mark, words, target = link.groups()
    path, sign, anchor = target.partition("#")
    if mark or "://" in target or not path:
        return link[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    page = next((page for page, name in BESIDE.items() if name == there), None)
    if page is None and there.startswith("docs/") and there.endswith(".md"):
        page = there.removeprefix("docs/")
    if page is None:
        return f"{words} (`{there}`)"
    where = posixpath.relpath(page, posixpath.dirname(BESIDE.get(source, source).removeprefix("docs/")) or ".")
    return f"[{words}]({where}{sign}{anchor})"
