"""Records of several machines in one folder."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.errors import StoreError
from finefuse.judge.merging import merge, write
from finefuse.predictions import FILE
from finefuse.records import Records, read_results
from finefuse.types import Cell, Record
from helpers.boards import runs
from helpers.calling import call

CORE = {"core": "3", "torch": "2.14.1"}


def folder(path: Path, rows: list[Record], *, suite: str = "demo", planned: list[Record] | None = None) -> Path:
    """A results folder with a plan of these rows, and of others that are only planned."""
    records = Records(path)
    for row in rows:
        records.append({"parts": CORE} | row)
    records.write_plan(suite, [(Cell.of(row), row["key"]) for row in [*(planned or []), *rows]])
    return path


def test_rows_of_two_machines_are_joined_and_marked(build: ModuleType, tmp_path: Path) -> None:
    whole = runs(build, "full", [0.5, 0.6, 0.7], parts=CORE)
    a = folder(tmp_path / "a", whole[:2], planned=[whole[2]])
    b = folder(tmp_path / "b", [whole[2] | {"machine": "m2", "parts": CORE | {"torch": "2.15"}}], planned=whole[:2])
    merged = merge([a, b])
    assert merged.counts == {a: 2, b: 1}
    assert merged.notes == (
        "several machines, whose seconds can't be compared: m1 (2 rows), m2 (1 rows)",
        "several versions of torch, whose bits may differ: 2.14.1 (2 rows), 2.15 (1 rows)",
    )
    written = write(merged, tmp_path / "c")
    assert [path.name for path in written] == ["records.jsonl", "plan.json"]
    found = read_results(tmp_path / "c")
    assert [row["test.accuracy"] for row in found.rows] == [0.5, 0.6, 0.7]
    assert (found.suite, found.missing, found.refused) == ("demo", [], [])


def test_what_is_still_missing_stays_planned(build: ModuleType, tmp_path: Path) -> None:
    whole = runs(build, "full", [0.5, 0.6, 0.7], parts=CORE)
    a = folder(tmp_path / "a", whole[:1], planned=whole[1:])
    b = folder(tmp_path / "b", whole[1:2], planned=whole)
    write(merge([a, b]), tmp_path / "c")
    assert read_results(tmp_path / "c").missing == [Cell.of(whole[2])]


def test_of_two_rows_of_one_cell_the_good_one_or_the_first_is_kept(build: ModuleType, tmp_path: Path) -> None:
    one, two = runs(build, "full", [0.5, 0.6], parts=CORE)
    failed = build.row(seed=0, status="failed", parts=CORE, key="another")
    a = folder(tmp_path / "a", [failed, two | {"seconds": 9.0}])
    b = folder(tmp_path / "b", [one, two | {"machine": "m2"}])
    assert [placed.row for placed in merge([a, b]).rows.values()] == [one, two | {"seconds": 9.0}]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test.accuracy": 0.75}, r"contradict each other in test\.accuracy: 0\.5 and 0\.75"),
        ({"outputs": "cd"}, "contradict each other in outputs: 'ab' and 'cd'"),
        ({"key": "other", "parts": CORE | {"torch": "2.15"}}, r"under different keys \(torch '2\.14\.1' and '2\.15'\)"),
        (
            {"seed": 1, "key": "other", "parts": CORE | {"core": "2"}},
            r"more than one version of results .*: 3 in .*a/records.jsonl:1 and 2",
        ),
        (
            {"seed": 1, "key": "other", "costs": 2},
            r"version of the protocol of costs .*: 1 in .*a/records.jsonl:1 and 2 in .*b/records",
        ),
    ],
)
def test_what_must_not_be_mixed_is_refused_with_file_and_line(
    build: ModuleType, tmp_path: Path, changed: Record, said: str
) -> None:
    row = build.row(parts=CORE, outputs="ab", **{"test.accuracy": 0.5, "correct": None})
    a = folder(tmp_path / "a", [row])
    b = folder(tmp_path / "b", [row | changed])
    with pytest.raises(StoreError, match=said) as caught:
        merge([a, b])
    assert f"{a / 'records.jsonl'}:1" in str(caught.value)
    assert f"{b / 'records.jsonl'}:1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_was_replaced_may_not_contradict_either(build: ModuleType, tmp_path: Path) -> None:
    row = build.row(parts=CORE, **{"test.accuracy": 0.5, "correct": None})
    a = folder(tmp_path / "a", [row | {"test.accuracy": 0.25}, row])
    b = folder(tmp_path / "b", [row])
    with pytest.raises(StoreError, match=r"a/records.jsonl:1 and .*a/records.jsonl:2: rows of one key"):
        merge([a, b])


def test_other_suites_and_damaged_lines_are_refused(build: ModuleType, tmp_path: Path) -> None:
    rows = runs(build, "full", [0.5, 0.6], parts=CORE)
    a, b = folder(tmp_path / "a", rows[:1]), folder(tmp_path / "b", rows[1:], suite="another")
    with pytest.raises(StoreError, match=r"only records of one suite are merged: .*a of 'demo', .*b of 'another'"):
        merge([a, b])
    c = folder(tmp_path / "c", rows)
    with (c / "records.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(StoreError, match=r"c/records.jsonl:3: is not a row of finefuse"):
        merge([a, c])


def test_predicted_classes_and_tracebacks_come_along(build: ModuleType, tmp_path: Path) -> None:
    one, two = runs(build, "full", [0.5, 0.6], parts=CORE)
    bad = build.row(label="bad", status="failed", key="x", traceback="../elsewhere.txt", parts=CORE)
    name = "x.txt"  # by the key, whatever the row says
    a, b = folder(tmp_path / "a", [one, bad]), folder(tmp_path / "b", [two])
    (a / "tracebacks").mkdir()
    (a / "tracebacks" / name).write_text("why")
    (a / FILE).write_text('{"labels":"l"}\n{"key":"1"}\n')
    (b / FILE).write_text('{"labels":"l"}\n{"key":"2"}\n')
    write(merge([a, b]), tmp_path / "c")
    assert (tmp_path / "c" / FILE).read_text() == '{"labels":"l"}\n{"key":"1"}\n{"key":"2"}\n'
    assert (tmp_path / "c" / "tracebacks" / name).read_text() == "why"
    assert not (tmp_path / "elsewhere.txt").exists()


def test_torn_and_damaged_lines_of_predicted_classes_are_no_more_than_that(build: ModuleType, tmp_path: Path) -> None:
    one, two = runs(build, "full", [0.5, 0.6], parts=CORE)
    a, b = folder(tmp_path / "a", [one]), folder(tmp_path / "b", [two])
    (a / FILE).write_bytes(b'{"key":"1"}\n{"key":"2"')
    (b / FILE).write_bytes(b'{"key":"\xff"}\n{"key":"2"}\n')
    write(merge([a, b]), tmp_path / "c")
    assert (tmp_path / "c" / FILE).read_bytes() == b'{"key":"1"}\n{"key":"\\xff"}\n{"key":"2"}\n'


@pytest.mark.parametrize("again", ["a", "b/../a", "link"])
def test_a_folder_that_is_given_twice_is_refused(
    build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], again: str
) -> None:
    a = folder(tmp_path / "a", runs(build, "full", [0.5], parts=CORE))
    folder(tmp_path / "b", runs(build, "full", [0.6], parts=CORE))
    (tmp_path / "link").symlink_to(a)
    done = call(capsys, "merge", a, tmp_path / "b", tmp_path / again, "--out", tmp_path / "c")
    also = "" if again == "a" else f", also as {a}"
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {tmp_path / again}: is given twice{also}; only different folders can be merged.\n"
    assert not (tmp_path / "c").exists()


def test_the_verb(build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = runs(build, "full", [0.5, 0.6], parts=CORE)
    a, b, c = folder(tmp_path / "a", rows[:1]), folder(tmp_path / "b", rows[1:]), tmp_path / "c"
    done = call(capsys, "merge", a, b, "--out", c)
    assert (done.code, done.out) == (0, f"{c / 'records.jsonl'}\n{c / 'plan.json'}\n")
    assert done.err == f"1 rows from {a}\n1 rows from {b}\n"
    again = call(capsys, "merge", a, b, "--out", c)
    assert (again.code, again.out) == (2, "")
    assert "holds results already" in again.err
    assert call(capsys, "merge", a, "--out", tmp_path / "d").code == 2
    assert call(capsys, "merge", a, b).code == 2
    assert not (tmp_path / "d").exists()
    assert json.loads(c.joinpath("plan.json").read_text())["suite"] == "demo"


def test_what_the_first_folder_was_asked_for_is_kept(build: ModuleType, tmp_path: Path) -> None:
    """`verify` needs its suite, and `compare` its gate."""
    whole = runs(build, "full", [0.5, 0.6], parts=CORE)
    a, b = folder(tmp_path / "a", whole[:1]), folder(tmp_path / "b", whole[1:])
    asked = {"suite": "demo", "table": {"name": "demo"}, "gate": {"alpha": 0.01}}
    Records(a).write_plan("demo", [(Cell.of(row), row["key"]) for row in whole], asked)
    write(merge([a, b]), tmp_path / "c")
    assert Records(tmp_path / "c").read_run() == asked
