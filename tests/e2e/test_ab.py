"""Versions of a package of plugins in git, really installed, run and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.projects import commit_all, git

TINY = Path(__file__).parents[1] / "fixtures" / "plugins" / "tiny.py"
SUITE = """
name      = "guests"
budget    = { epochs = 4, batch_size = 16 }
datasets  = [{ use = "points", images = true }]
backbones = [{ use = "tiny", images = true }]
metrics   = ["accuracy"]
schemes   = ["late-thaw"]
"""


@pytest.mark.slow
def test_the_working_tree_against_a_commit(new_place: Callable[[], Any]) -> None:
    place = new_place()
    assert place.run("new", "scheme", "late-thaw", "--into", ".").code == 0
    place.write("guests.toml", SUITE)
    place.write(".gitignore", "store\ncache\n")
    git(place.folder, "init", "--quiet")
    commit_all(place.folder)
    module = place.folder / "finefuse_late_thaw.py"
    text = module.read_text()

    def against_the_commit() -> Any:
        options = ("--suite", "guests.toml", "--plugin", TINY, "--pairs", 1, "--workers", 0, "--format", "text")
        return place.run("ab", "HEAD", *options)

    module.write_text(f"{text}\n# a remark\n")
    harmless = against_the_commit()
    assert harmless.code == 0, harmless.err
    assert " and 1 changed file) against HEAD (" in harmless.out
    assert "Cells: 1 unchanged." in harmless.out

    module.write_text(text.replace("steps=steps)\n", "steps=steps)\n        on.model.head.weight.data.neg_()\n", 1))
    harmful = against_the_commit()
    assert harmful.code == 1, harmful.err
    assert harmful.out.startswith("FAILED: the working tree (")
    assert "accuracy" in harmful.out
