"""The plan of a results folder, and the rows of it that count."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.errors import StoreError
from finefuse.records import Records, Results, read_results
from finefuse.types import Cell
from helpers.rows_on_disk import AWKWARD, filled, full_disk, place, row


def test_the_plan_comes_back_in_order(tmp_path: Path) -> None:
    records = Records(tmp_path / "new")
    one, two = place(1), place(2)
    records.write_plan("quick", [(two, "1"), (one, "2")])
    records.write_plan("quick", [(two, "1"), (one, "3")])
    plan = records.read_plan()
    assert plan is not None
    assert (plan[0], list(plan[1].items())) == ("quick", [(two, "1"), (one, "3")])
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
        b'{"schema": "2", "suite": "s", "cells": []}',
        b'{"schema": 2, "suite": "s", "cells": [["a", "b"]]}',
        b'{"schema": 2, "suite": "s", "cells": [{"kind": "tune", "key": "k"}]}',
    ],
)
def test_a_damaged_plan_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"plan.json: not a plan of finefuse"):
        Records(tmp_path).read_plan()


def test_current_rows_are_the_last_with_the_planned_key(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for key, n in [("old", 0), ("new", 1), ("new", 2), ("old", 3)]:
        records.append(row(1, key=key, n=n))
    records.append(row(2, key="new", n=4))  # is not planned any more
    records.append(row(3, key="old", n=5))
    records.write_plan("quick", [(place(9), "k"), (place(3), "new"), (place(1), "new")])
    found = read_results(tmp_path)
    assert found.suite == "quick"
    assert [r["n"] for r in found.rows] == [2]
    assert found.missing == [place(9), place(3)]


def test_results_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    records = filled(tmp_path, 3)
    records.write_plan("s", [(place(n), f"key {n}") for n in (2, 0, 1)])
    assert [r["n"] for r in read_results(tmp_path).rows] == [2, 0, 1]


def test_without_a_plan_the_last_row_of_every_cell_counts(tmp_path: Path, build: ModuleType) -> None:
    old, new, other = build.row(n=1), build.row(n=2, key="another"), build.row(seed=1, n=3)
    build.write(tmp_path, [old, other, new])
    found = read_results(tmp_path)
    assert (found.suite, found.missing) == ("demo", [])
    assert sorted(r["n"] for r in found.rows) == [2, 3]


def test_a_planned_suite_that_has_not_begun(tmp_path: Path) -> None:
    Records(tmp_path).write_plan("quick", [(place(1), "k")])
    assert read_results(tmp_path) == Results("quick", [], [place(1)], [], planned=True)


def test_a_plan_of_a_former_version_is_read(tmp_path: Path) -> None:
    """It has no more of a cell than its text; the fields are those of whatever rows the cell has."""
    records = filled(tmp_path, 3)
    cells = [["cell 2", "key 2"], ["cell 0", "key 0"], ["cell 1", "a newer key"], ["cell 9", "key 9"]]
    records.plan_file.write_text(json.dumps({"suite": "old", "cells": cells}))
    found = read_results(tmp_path)
    assert (found.suite, [r["n"] for r in found.rows]) == ("old", [2, 0])
    assert found.missing == [place(1), "cell 9"]


def test_a_plan_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"schema": 3, "suite": "s", "cells": []}')
    with pytest.raises(StoreError, match=r"plan.json: a plan of schema 3; this finefuse reads up to 2\."):
        Records(tmp_path).read_plan()


def test_the_gate_of_a_suite_is_read_with_its_plan(tmp_path: Path) -> None:
    records = filled(tmp_path, 1)
    records.write_plan("quick", [(place(0), "key 0")], {"gate": {"alpha": 0.01}})
    assert read_results(tmp_path).gate == {"alpha": 0.01}
    records.plan_file.write_text(records.plan_file.read_text().replace('{"alpha":0.01}', "3"))
    with pytest.raises(StoreError, match=r"plan.json: has 3 as \[gate\], where a table was expected"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", AWKWARD)
def test_what_a_cell_is_called_costs_nothing(tmp_path: Path, build: ModuleType, name: str) -> None:
    there, absent = build.row(dataset=name), build.row(dataset=name, label=name, seed=1)
    build.write(tmp_path, [there], [Cell.of(absent)])
    found = read_results(tmp_path)
    assert found.missing == [Cell.of(absent)]
    assert [Cell.of(row) for row in found.rows] == [Cell.of(there)]


def test_cells_with_one_text_are_two_cells(tmp_path: Path, build: ModuleType) -> None:
    rows = [build.row(dataset="a/b", backbone="c", n=1), build.row(dataset="a", backbone="b/c", n=2)]
    assert rows[0]["cell"] == rows[1]["cell"]
    build.write(tmp_path, rows, planned=[])
    assert [r["n"] for r in read_results(tmp_path).rows] == [1, 2]
    (tmp_path / "plan.json").unlink()
    assert [r["n"] for r in read_results(tmp_path).rows] == [1, 2]


def damage(records: Records, n: int) -> None:
    """Write a status that there isn't into the row of cell n."""
    lines = records.file.read_text().replace(f'"n":{n},"status":"skipped"', f'"n":{n},"status":"OK"')
    records.file.write_text(lines)


def test_a_line_that_can_not_be_believed_closes_the_folder(tmp_path: Path) -> None:
    """It may be the row of any cell that has no other."""
    records = filled(tmp_path, 3)
    damage(records, 1)
    sentence = r"records.jsonl:2: cell 1 has 'OK' as `status`, .*; `finefuse run` ignores it and runs the missing jobs"
    with pytest.raises(StoreError, match=sentence):
        read_results(tmp_path)
    records.write_plan("s", [(place(n), f"key {n}") for n in range(3)])
    with pytest.raises(StoreError, match=sentence):
        read_results(tmp_path)
    damage(records, 2)
    with pytest.raises(StoreError, match=r"\(other such lines: 1\)"):
        read_results(tmp_path)


def test_a_line_that_no_cell_needs_is_passed_over_and_told(tmp_path: Path) -> None:
    records = filled(tmp_path, 3)
    damage(records, 1)
    records.append(row(1))
    records.write_plan("s", [(place(n), f"key {n}") for n in range(3)])
    found = read_results(tmp_path)
    assert ([r["n"] for r in found.rows], found.missing) == ([0, 1, 2], [])
    assert [sentence.startswith(f"{records.file}:2: cell 1 has 'OK'") for sentence in found.refused] == [True]


def test_a_folder_without_results(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="no results here"):
            read_results(folder)
