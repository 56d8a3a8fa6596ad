"""Rows that come from one pretrained network whose bits differ: one observation, not one for each of them."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from helpers.gates import Pair, Rows, cells_of


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def ancestry(pair: Pair, rng: np.random.Generator, lost: int, shared: int, n: int = 1000) -> tuple[Rows, Rows]:
    """Rows that come from one pretrained network, whose bits differ; all lose the same answers, and each its own."""
    base = cells_of(pair, rng, 12, 3, n)
    gone = rng.choice(n, shared, replace=False)
    new = []
    for row in base:
        right = np.unpackbits(np.frombuffer(base64.b64decode(row["correct"]), np.uint8), count=n) > 0
        right[gone] = False
        new.append(pair.changed(row | pair.scored(right), rng, lost, 10))
    pretrain = pair.build.row("pretrain", "", dataset="letters", parts={"source net.py": "1", "instruction set": "a"})
    other = pretrain | {"outputs": "others", "parts": {"source net.py": "1", "instruction set": "b"}}
    return [pretrain, *base], [other, *new]


def test_a_shift_from_one_ancestor_is_one_observation(pair: Pair, rng: np.random.Generator) -> None:
    base, new = ancestry(pair, rng, 10, 30)
    found = pair.compare(base, new)
    assert found.passed, found.failures
    assert found.notes[0].startswith("The pretrained cnn-s has other bits, and its code doesn't differ: ")
    assert "portable" in found.notes[0]
    assert not [
        verdict for verdict in found.verdicts if verdict.scope == "comparison" and verdict.measure == "accuracy"
    ]
    assert not pair.compare(base, new, resolve="1pp").passed
    changed = [row | {"parts": {"source net.py": "2"}} if row["kind"] == "pretrain" else row for row in new]
    code = pair.compare(base, changed)
    assert not code.passed
    assert not code.notes


@pytest.mark.parametrize("parts", [{}, {"instruction set": "b"}, {"source net.py": "1", "source more.py": "1"}])
def test_bits_without_a_word_on_the_code_are_no_excuse(
    pair: Pair, rng: np.random.Generator, parts: dict[str, str]
) -> None:
    base, new = ancestry(pair, rng, 10, 30)
    new[0] = new[0] | {"parts": parts}
    found = pair.compare(base, new)
    assert not found.passed
    assert not found.notes


def test_a_cell_that_is_worse_than_its_siblings_is_still_caught(pair: Pair, rng: np.random.Generator) -> None:
    base, new = ancestry(pair, rng, 10, 30)
    new[5] = pair.changed(new[5], rng, 100)
    found = pair.compare(base, new)
    assert [v.cell for v in found.verdicts if v.judgement == "regressed"] == [new[5]["cell"]]


def test_more_than_bits_explain_fails(pair: Pair, rng: np.random.Generator) -> None:
    found = pair.compare(*ancestry(pair, rng, 10, 80))
    (said,) = found.failures
    assert said.startswith("All that comes from the pretrained cnn-s lost ")
