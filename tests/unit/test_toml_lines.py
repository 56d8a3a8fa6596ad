from __future__ import annotations

import tomllib
from typing import Any

import pytest

from finefuse.declare.toml_lines import KeyPath, Lines

TEXT = '''name = "x # no comment" # seeds = 3
seeds = [0,
  1, # ]
  2]
budget = { epochs = 3, "a.b" = 4 }
when = 1979-05-27 07:32:00
text = """
a = 1 \\"""
"""""
raw = \'\'\'
[no]
\'\'\'
schemes = ["full", { use = "l2", grid = { alpha = [
  0.1,
  0.2] } }]
a.b."c.d" = [[1], [2,
3]]

[pools]
same = { of = ["full"] }
[pools.other]
copies = 3
[[many]]
x = 1
[many.grid]
y = 2
[[many]]
x = 3
'''
LINES = {
    ("name",): 1,
    ("seeds",): 2,
    ("seeds", 0): 2,
    ("seeds", 1): 3,
    ("seeds", 2): 4,
    ("budget", "epochs"): 5,
    ("budget", "a.b"): 5,
    ("when",): 6,
    ("text",): 7,
    ("raw",): 10,
    ("schemes", 0): 13,
    ("schemes", 1, "use"): 13,
    ("schemes", 1, "grid", "alpha", 0): 14,
    ("schemes", 1, "grid", "alpha", 1): 15,
    ("a",): 16,
    ("a", "b", "c.d", 0, 0): 16,
    ("a", "b", "c.d", 1, 1): 17,
    ("pools",): 19,
    ("pools", "same", "of", 0): 20,
    ("pools", "other"): 21,
    ("pools", "other", "copies"): 22,
    ("many", 0): 23,
    ("many", 0, "x"): 24,
    ("many", 0, "grid", "y"): 26,
    ("many", 1): 27,
    ("many", 1, "x"): 28,
}


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every key path in what `tomllib` has read."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path}.union(*(paths(item, (*path, key)) for key, item in inner))


@pytest.mark.parametrize("path", LINES, ids=str)
def test_the_line_of(path: KeyPath) -> None:
    assert Lines(TEXT).of[path] == LINES[path]


def test_every_key_that_tomllib_reads_has_a_line_and_no_other() -> None:
    assert set(Lines(TEXT).of) == paths(tomllib.loads(TEXT)) - {()}


def test_what_has_no_line_has_that_of_what_is_around_it() -> None:
    lines = Lines(TEXT)
    assert lines.find(("schemes", 0, "use")) == 13
    assert lines.find(("pools", "other", "of")) == 21
    assert lines.find(("nowhere",)) is None
    assert lines.find(()) is None


def test_what_was_met_before() -> None:
    assert Lines("a = 1\nb = 2\na = 3").again == [(("a",), 1, 3)]
    assert Lines("[p]\nx = 1\n\nx = [").again == [(("p", "x"), 2, 4)]
    assert Lines("a = 1\nb = 2").again == []


@pytest.mark.parametrize("text", ["", "a = [", "a = {", "a = { b = [}", "[", "]", "=", "}", "a = ]", "'", '"""', "[[a"])
def test_text_that_is_cut_or_broken_ends_as_well(text: str) -> None:
    assert set(Lines(text).of.values()) <= {1}
