from __future__ import annotations

import base64
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import finefuse
from finefuse.errors import StoreError
from finefuse.judge.frame import FIRST, correctness, number, to_frame


def test_one_row_per_record_with_every_field(build: ModuleType) -> None:
    records = [build.row(seed=0), build.row("fuse", "soup", pool="p", extra="x"), build.row(status="failed")]
    frame = to_frame(iter(records))
    assert list(frame["label"]) == ["full", "soup", "full"]
    assert list(frame.columns[: len(FIRST)]) == list(FIRST)
    assert set(frame.columns) == {field for record in records for field in record} | set(FIRST)
    assert list(frame["test.accuracy"][:2]) == [0.9, 0.9]
    assert math.isnan(frame["test.accuracy"][2])
    assert frame["extra"][1] == "x"


def test_fields_that_a_record_lacks(build: ModuleType) -> None:
    frame = to_frame([{"cell": "a", "key": "k"}])
    assert frame.to_dict("records") == [FIRST | {"cell": "a", "key": "k"}]


def test_no_records() -> None:
    frame = to_frame([])
    assert len(frame) == 0
    assert list(frame) == list(FIRST)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_come_back(right: list[bool]) -> None:
    packed = base64.b64encode(np.packbits(right).tobytes()).decode()
    assert correctness({"cell": "c", "n_test": len(right), "correct": packed}).tolist() == right


@pytest.mark.parametrize("correct", ["?", "AA=A", "é", None, 3])
def test_damaged_bits(correct: object) -> None:
    with pytest.raises(StoreError, match="record of the cell has a damaged field `correct`"):
        correctness({"cell": "the cell", "n_test": 8, "correct": correct})


@pytest.mark.parametrize("n", [1, 8, 17, 1000])
def test_bits_for_another_number_of_examples(n: int) -> None:
    with pytest.raises(StoreError, match=f"2 bytes of `correct` for {n} examples"):
        correctness({"cell": "c", "n_test": n, "correct": base64.b64encode(b"ab").decode()})


def test_numbers() -> None:
    record = {"cell": "c", "a": 3, "b": 0.5, "c": None}
    assert [number(record, "a"), number(record, "b")] == [3.0, 0.5]
    assert math.isnan(number(record, "c"))
    assert math.isnan(number(record, "d"))


@pytest.mark.parametrize("value", ["", "0.9", [], {}, True])
def test_what_is_no_number_is_not_taken_for_zero(value: object) -> None:
    with pytest.raises(StoreError, match=r"record of the cell should have a number as test.accuracy"):
        number({"cell": "the cell", "test.accuracy": value}, "test.accuracy")


def test_judging_needs_no_torch() -> None:
    code = (
        "import sys, finefuse.judge.board.leaderboard, finefuse.judge.compare; "
        "print({'torch', 'sklearn'} & {*sys.modules})"
    )
    path = str(Path(finefuse.__file__).parents[1])
    out = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert (out.stdout, out.stderr) == ("set()\n", "")
