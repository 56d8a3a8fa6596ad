"""The core names no plugin: a plugin that is taken where none is named says so in `Entry.default_for`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from finefuse.discovery.registry import KINDS, Registry

CORE = Path(__file__).parents[2] / "benchmark" / "finefuse"
ELSE = {
    ("cli.plugins", "summary"): "a column of the list of known plugins",
    ("declare.schema", "gate"): "a key of suites",
    ("declare.schema", "search"): "a key of suites",
    ("declare.suite", "search"): "that key, and the role of whoever searches",
    ("discovery.lazy", "torchvision"): "the module",
    ("discovery.signatures", "folder"): "an argument of reporters",
    ("declare.jobs", "search"): "a field of jobs",
    ("engine.drive.schedule", "gate"): "a key of suites",
    ("engine.store.origin", "search"): "that field",
    ("engine.work.searching", "search"): "the purpose of a seed",
    ("engine.work.untouched", "json"): "a module of Python",
    ("judge.board.bounds", "mean"): "the mean member of a pool, a column",
    **dict.fromkeys(
        ((f"judge.board.{name}", "mean") for name in ("budgets", "curves", "from_means", "page.document")), "a column"
    ),
    ("judge.board.leaderboard", "mean"): "pandas' mean",
    **dict.fromkeys(
        (("judge.board.page.columns", n) for n in ("figures", "mean", "search")), "groups of columns, a column"
    ),
    ("judge.board.present", "mean"): "the end of a column's name",
    ("judge.board.present", "markdown"): "a format",
    ("judge.board.terminal", "markdown"): "a format",
    ("judge.gate.calibration", "markdown"): "a format",
    ("judge.gate.comparison", "markdown"): "a format",
    ("judge.gate.examples", "mean"): "a figure over examples",
    ("judge.gate.exchange", "max"): "a field of pytest-benchmark's",
    ("judge.gate.exchange", "mean"): "the same",
    ("judge.gate.exchange", "median"): "the same",
    ("judge.gate.exchange", "min"): "the same",
    ("judge.gate.formats", "json"): "a format",
    ("judge.gate.formats", "markdown"): "a format",
    ("judge.gate.shown", "markdown"): "a format",
    ("judge.overall", "mean"): "a column",
    ("matching.units", "mean"): "a function of torch",
    ("records", "gate"): "a key of suites",
    ("repeat.matrix", "folder"): "a field",
    ("rows", "mean"): "a field of the rows of pools",
    ("testing.__init__", "snapshot"): "a function of the kit",
    ("nets", "recalibrate"): "a function of plugins",
    ("types.entries", "search"): "the role",
}
"""Texts that are a plugin's name by chance, and what they are."""


def module(file: Path) -> str:
    """Its name within the core."""
    return ".".join(file.relative_to(CORE).with_suffix("").parts)


def texts(file: Path) -> set[str]:
    """Every text in a module that is not a docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in said]
    return {node.value for node in constants if isinstance(node.value, str)}


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Of all that is built in."""
    zoo = Registry(("finefuse_zoo.hooks",), entry_points=False)
    return {one.entry.name for kind in KINDS for one in zoo.entries(kind)}


def test_no_text_in_the_core_is_the_name_of_a_built_in_plugin(names: set[str]) -> None:
    assert len(names) > 100
    found = {(module(file), text) for file in CORE.rglob("*.py") for text in texts(file) & names}
    assert found == set(ELSE)


def test_no_message_of_the_core_sends_to_a_built_in_plugin(names: set[str]) -> None:
    quoted = re.compile(r"'([a-z][\w-]*)'|`([a-z][\w-]*)`")
    words = {
        word for file in CORE.rglob("*.py") for text in texts(file) for pair in quoted.findall(text) for word in pair
    }
    assert words & names == set()
