"""The plan of a results folder, and the rows of it that count."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from finefuse.errors import StoreError
from finefuse.records import Records, read_results
from helpers.rows_on_disk import filled, full_disk


def test_the_plan_comes_back_in_order(tmp_path: Path) -> None:
    records = Records(tmp_path / "new")
    records.write_plan("quick", [("b", "1"), ("a", "2")])
    records.write_plan("quick", [("b", "1"), ("a", "3")])
    plan = records.read_plan()
    assert plan is not None
    assert (plan[0], list(plan[1].items())) == ("quick", [("b", "1"), ("a", "3")])
    assert [path.name for path in records.folder.iterdir()] == ["plan.json"]


def test_a_plan_that_could_not_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path)
    records.write_plan("old", [])
    full_disk(monkeypatch, "fsync")
    with pytest.raises(StoreError, match=r"plan.json: can't be written: No space left on device"):
        records.write_plan("new", [])
    assert records.read_plan() == ("old", {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"suite": "s"}',
        b'{"suite": 1, "cells": []}',
        b'{"suite": "s", "cells": {"a": "b"}}',
        b'{"suite": "s", "cells": [["a"]]}',
        b'{"suite": "s", "cells": [["a", 1]]}',
    ],
)
def test_a_damaged_plan_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"plan.json: not a plan of finefuse"):
        Records(tmp_path).read_plan()


def test_current_rows_are_the_last_with_the_planned_key(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for key, n in [("old", 0), ("new", 1), ("new", 2), ("old", 3)]:
        records.append({"cell": "a", "key": key, "n": n})
    records.append({"cell": "not planned any more", "key": "new", "n": 4})
    records.append({"cell": "stale", "key": "old", "n": 5})
    records.write_plan("quick", [("none", "k"), ("stale", "new"), ("a", "new")])
    suite, rows, missing = read_results(tmp_path)
    assert suite == "quick"
    assert [r["n"] for r in rows] == [2]
    assert missing == ["none", "stale"]


def test_results_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    records = filled(tmp_path, 3)
    records.write_plan("s", [("cell 2", "key 2"), ("cell 0", "key 0"), ("cell 1", "key 1")])
    assert [r["n"] for r in read_results(tmp_path)[1]] == [2, 0, 1]


def test_without_a_plan_the_last_row_of_every_cell_counts(tmp_path: Path, build: ModuleType) -> None:
    old, new, other = build.row(n=1), build.row(n=2, key="another"), build.row(seed=1, n=3)
    build.write(tmp_path, [old, other, new])
    suite, rows, missing = read_results(tmp_path)
    assert (suite, missing) == ("demo", [])
    assert sorted(r["n"] for r in rows) == [2, 3]


def test_a_planned_suite_that_has_not_begun(tmp_path: Path) -> None:
    Records(tmp_path).write_plan("quick", [("a", "k")])
    assert read_results(tmp_path) == ("quick", [], ["a"])


def test_a_folder_without_results(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="no results here"):
            read_results(folder)
