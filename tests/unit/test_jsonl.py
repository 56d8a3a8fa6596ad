"""Lines of JSON are read as Python's own module reads them, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finefuse.jsonl import load

numbers = st.floats() | st.integers() | st.integers(-(2**70), 2**70)
VALUES = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LINES = [
    "", " ", "{", "nul", "1 2", '{"a":1,"a":2}', "18446744073709551616", "-9223372036854775809", "1e400", "NaN",
    "-Infinity", '"\\ud800"', '"\x01"', '"\\u0000"', "01", "1.", "-0", "-0.0", "[1,]", '{"a":[10000000000000000000]}',
    "\ufeff1", "0.12345678901234567890123", "[" * 2000 + "]" * 2000, "[" * 100_000, "'a'", "5e-324", "2.5E+3",
]  # fmt: skip


@pytest.mark.parametrize("line", [*(text.encode("utf-8") for text in LINES), b'"\xff"', b'"\xed\xa0\x80"'])
def test_odd_lines(line: bytes) -> None:
    assert repr(load(line)) == repr(_by_json(line))


@given(VALUES)
def test_any_value(value: Any) -> None:
    line = json.dumps(value).encode() + b"\n"
    assert repr(load(line)) == repr(_by_json(line))


def _by_json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
