"""What `csv` makes of files that aren't as one would write them: nothing is dropped, invented or read differently in
silence."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finefuse import FinefuseError, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets._numbers import column, number
from finefuse_zoo.datasets._table import Table
from finefuse_zoo.datasets.csv_table import CsvTable

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
ROWS = range(24)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def made(text: str | bytes, name: str = "t.csv") -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return made


@pytest.fixture
def table(write) -> Any:
    """A file with these columns, each a function of the row, or a list of cells."""

    def made(*, separator: str = ",", name: str = "t.csv", **columns: Any) -> Path:
        cells = [[str(of(i)) for i in ROWS] if callable(of) else list(of) for of in columns.values()]
        lines = [separator.join(columns), *(separator.join(row) for row in zip(*cells, strict=True))]
        return write("\n".join(lines) + "\n", name)

    return made


def wave(i: int) -> float:
    return round(10 * np.sin(i * 1.7), 3)


def y(i: int) -> float:
    return round(3 * np.cos(i * 2.3) + i % 5, 3)


def prices(path: Path, **params: Any) -> CsvTable:
    return CsvTable(**{"train": path, "target": "y", "kind": "regression", **params})


def used(dataset: CsvTable) -> tuple[str, ...]:
    assert dataset.task.input_shape == (len(dataset._columns(dataset._table(dataset.train))),)
    return dataset._columns(dataset._table(dataset.train))


def said(call: Any) -> str:
    with pytest.raises(FinefuseError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def remark(dataset: CsvTable, about: str) -> str:
    found = [told for told in dataset.remarks() if about in told]
    assert len(found) == 1, dataset.remarks()
    return found[0]


# -------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    ("cell", "decimal", "expected"),
    [
        ("1.5", ".", 1.5),
        (" -2e3 ", ".", -2000.0),
        (".5", ".", 0.5),
        ("5.", ".", 5.0),
        ("3,14", ",", 3.14),
        ("1.5", ",", None),
        ("3,14", ".", None),
        ("1_000", ".", None),
        ("1_000", ",", None),
        ("inf", ".", None),
        ("1e999", ".", None),
        ("nan", ".", None),
        ("0x10", ".", None),
        ("", ".", None),
        ("12:30", ".", None),
    ],
)
def test_a_number_is_what_one_would_write_for_it(cell, decimal, expected):
    assert number(cell, decimal) == expected


@pytest.mark.parametrize("odd", ["1_000", "3,14", "x", "inf"])
@pytest.mark.parametrize("row", [0, 5, 9])
def test_what_a_column_is_does_not_depend_on_which_cell_is_odd(odd, row):
    cells = [str(i) for i in range(10)]
    cells[row] = odd
    found = column(cells, ".")
    assert (found.kind, found.wrong) == ("mixed", row)
    cells[row] = ""
    assert (column(cells, ".").kind, column(cells, ".").missing) == ("numbers", 1)


def test_a_column_with_few_numbers_among_texts_is_one_of_texts():
    assert column(["1984", "Dune", "Emma", "It"], ".").kind == "texts"
    assert column(["", " ", "NA", "null"], ".").kind == "empty"


# ------------------------------------------------------------------------------------------------------- missing values


@pytest.mark.parametrize("row", [0, 5])
@pytest.mark.parametrize("cell", ["", "NA", " nan "])
def test_a_missing_value_is_an_error_with_its_line_whatever_the_row(table, row, cell):
    a = [str(wave(i)) for i in ROWS]
    a[row] = cell
    told = said(lambda: prices(table(a=a, b=y, y=y)).task)
    assert told.endswith(
        f"line {row + 2}: 'a' is empty, and a finite number is needed; missing = \"mean\" puts the column's mean there"
    )


def test_missing_values_become_the_mean_of_the_known_rows_if_asked_for(table):
    a = [str(wave(i)) for i in ROWS]
    a[0] = a[7] = ""
    dataset = prices(table(a=a, b=wave, y=y), missing="mean")
    splits = dataset.splits(0)
    x = torch.cat([part.x for part in (splits.train, splits.val, splits.test)])
    assert int((x[:, 0] == 0).sum()) == 2
    assert x.isfinite().all()
    known = splits.train.x[splits.train.x[:, 0] != 0, 0]  # all rows but val and test
    assert float(known.mean()) == pytest.approx(0, abs=1e-6)
    assert float(known.std(unbiased=False)) == pytest.approx(1, abs=1e-6)
    assert remark(dataset, "empty") == "2 empty cells in 'a': the column's mean"


def test_a_missing_target_is_an_error_always(table):
    values = [str(y(i)) for i in ROWS]
    values[3] = ""
    told = said(lambda: prices(table(a=wave, y=values), missing="mean").splits(0))
    assert told.endswith("line 5: 'y' is empty, and a finite number is needed")


def test_several_columns_with_gaps_are_counted(table):
    gaps = [str(wave(i)) if i % 6 else "" for i in ROWS]
    told = said(lambda: prices(table(a=gaps, b=gaps, y=y)).task)
    assert (
        "line 2: 'a' is empty, as are 3 more of its cells, and a finite number is needed, and cells of 1 other" in told
    )


def test_a_test_file_follows_the_same_rule(table):
    train, gap = table(a=wave, y=y), [str(wave(i)) if i else "" for i in ROWS]
    test = table(a=gap, y=y, name="test.csv")
    assert "test.csv, line 2: 'a' is empty" in said(lambda: prices(train, test=test).splits(0))
    splits = prices(train, test=test, missing="mean").splits(0)
    assert splits.test.x[0].tolist() == [0.0]


# ----------------------------------------------------------------------------------------------------- decimal commas


def test_decimal_commas_are_an_error_until_they_are_said(table):
    def comma(of: Any) -> Any:
        return lambda i: str(of(i)).replace(".", ",")

    path = table(separator=";", a=comma(wave), y=comma(y))
    told = said(lambda: prices(path, separator=";").task)
    assert told.endswith('decimal = "," reads the comma as the decimal point')
    plain = prices(table(a=wave, y=y, name="p.csv")).splits(0)
    splits = prices(path, separator=";", decimal=",").splits(0)
    assert torch.equal(splits.train.x, plain.train.x)
    assert torch.equal(splits.train.y, plain.train.y)
    told = said(lambda: prices(table(a=wave, y=y), decimal=",").task)
    assert told.endswith('decimal = "," allows no point')


@pytest.mark.parametrize("cell", ["1_000", "1,5", "1 000", "inf"])
def test_a_number_written_otherwise_is_named(table, cell):
    a = [str(wave(i)) for i in ROWS]
    a[4] = f'"{cell}"'
    assert f"line 6: 'a' is {cell!r}, and a finite number is needed" in said(lambda: prices(table(a=a, y=y)).task)


# ------------------------------------------------------------------------------------------------------ which columns


def test_plan_is_told_which_columns_are_used_and_why_not_the_others(table):
    path = table(
        **{
            "": lambda i: i,
            "row": lambda i: 100 - i,
            "user_id": lambda i: i * i + 7,
            "a": wave,
            "town": lambda i: "xy"[i % 2],
        },
        same=lambda _: 7,
        void=lambda _: "",
        y=y,
    )
    dataset = prices(path)
    assert used(dataset) == ("a", "same")
    assert remark(dataset, "uses") == "uses 2 columns, 'a', 'same', of t.csv"
    assert remark(dataset, "leaves out") == (
        "leaves out 'column 1' (has no name, as an index); 'row' (counts the rows); 'user_id' (names the rows); "
        "'town' (texts); 'void' (empty)"
    )
    assert remark(dataset, "always") == "'same': always the same value"
    named = prices(path, features=("row", "column 1"))
    assert used(named) == ("row", "column 1")
    assert "'a', 'town', 'same', 'void' (not in `features`)" in remark(named, "leaves out").replace("'user_id', ", "")


def test_where_only_a_count_is_left_the_error_says_so(table):
    told = said(lambda: prices(table(a=lambda i: i, y=y)).task)
    assert told.endswith("no column can be used, 'a' (counts the rows); name those that you want in `features`")


@pytest.mark.parametrize(
    ("second", "kind"),
    [(lambda i: round(y(i) * 1.2 + 5, 4), "regression"), (lambda i: round(float(np.exp(y(i))), 6), "regression")],
)
def test_a_second_target_among_the_columns_is_suspected(table, second, kind):
    dataset = prices(table(a=wave, twin=second, y=y), kind=kind)
    assert remark(dataset, "second") == "'twin': tells the target 'y' by itself; is it a second one?"


def test_a_number_for_each_class_is_suspected_too(table):
    path = table(a=wave, code=lambda i: (3, 1, 8)[i % 3], y=lambda i: "abc"[i % 3])
    assert "'code': tells the target" in remark(CsvTable(path, "y"), "second")
    assert all("second" not in told for told in CsvTable(table(a=wave, y=lambda i: "ab"[i % 2]), "y").remarks())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"features": ["a", "y"]}, "'y' is the target, and can't be what it is predicted from too"),
        ({"features": ["a", "b", "a"]}, "names 'a' twice"),
        ({"text": "y"}, "'y' is the target"),
    ],
)
def test_the_target_as_an_input_and_a_column_twice_are_refused(params, expected):
    with pytest.raises(ParameterError, match=expected):
        REGISTRY.build("dataset", Ref.of("csv", train="t.csv", target="y", **params))


def test_ten_thousand_columns_are_read_in_linear_time(write, monkeypatch):
    """Counted, not timed: no name is looked for among all the others."""
    names = [f"c{i}" for i in range(10_000)]
    looks = 0

    class Counted(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

        def strip(self, *_: Any) -> Counted:
            return self

    def rows(*_: Any) -> Any:
        yield 1, [Counted(name) for name in [*names, "y"]]
        for i in range(12):
            yield i + 2, [str(wave(i + j)) for j in range(10_000)] + [str(y(i))]

    monkeypatch.setattr("finefuse_zoo.datasets._table._rows", rows)
    dataset = prices(write("wide", "wide.csv"))
    assert dataset.task.input_shape == (10_000,)
    assert looks < 10 * len(names)


# -------------------------------------------------------------------------------------------------------------- labels


def test_blanks_around_labels_do_not_count_and_are_told(table):
    path = table(a=wave, y=lambda i: ("cat", "cat ", "dog")[i % 3])
    dataset = CsvTable(path, "y")
    assert dataset.task.outputs == 2
    assert remark(dataset, "blanks") == "8 labels in 'y' have blanks around them, which don't count"


def test_labels_that_look_the_same_are_told(table):
    dataset = CsvTable(table(a=wave, y=lambda i: ("Cat", "cat", "dog", "do\N{LATIN SMALL LETTER G}  x")[i % 4]), "y")
    assert dataset.task.outputs == 4
    assert remark(dataset, "writing") == "labels that differ in writing only: 'Cat', 'cat'"


def test_rows_that_train_and_test_files_share_are_counted(table, write):
    train = table(a=wave, y=y)
    lines = train.read_text().splitlines()
    test = write("\n".join([lines[0], *lines[3:6], "0.111,2"]) + "\n", "test.csv")
    assert remark(prices(train, test=test), "too") == "3 of 4 rows of test.csv are in t.csv too"


# --------------------------------------------------------------------------------------------------------------- files


def read(path: Path, **params: Any) -> Table:
    return CsvTable(path, "y", text="a", **params)._table(path)


def test_a_cell_of_any_length_is_read_and_the_limit_of_the_process_stays(write):
    before = csv.field_size_limit()
    path = write(f"a,y\n{'x' * 150_000},1\nb,2\n")
    assert [len(cell) for cell in read(path).columns["a"]] == [150_000, 1]
    assert csv.field_size_limit() == before


def test_a_quoted_cell_may_hold_newlines_and_lines_stay_right(write):
    path = write('a,y\n"one\n\ntwo, three",1\nx,2,3\n')
    assert said(lambda: read(path)).endswith("line 5: 3 fields where 2 are expected")
    assert read(write('a,y\n"one\n\ntwo, three",1\n')).columns["a"] == ["one\n\ntwo, three"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1"])
def test_every_encoding_that_is_said_is_read(write, encoding):
    path = write("a,y\ncafé,1\nb,2\n".encode(encoding))
    assert read(path, encoding=encoding).columns == {"a": ["café", "b"], "y": ["1", "2"]}


@pytest.mark.parametrize(
    ("encoding", "told_as", "expected"),
    [
        ("utf-16", "latin-1", 'begins with the mark of utf-16, not of latin-1: say encoding = "utf-16"'),
        ("utf-16", "utf-8", "begins with the mark of utf-16"),
        ("utf-32", "utf-8", "begins with the mark of utf-32"),
        ("utf-8-sig", "latin-1", "begins with the mark of utf-8"),
        ("utf-16-le", "latin-1", 'line 1: there is a character of number 0; is encoding = "utf-16-le" right?'),
    ],
)
def test_an_encoding_that_is_another_is_named(write, encoding, told_as, expected):
    path = write("a,y\ncafe,1\nb,2\n".encode(encoding))
    assert expected in said(lambda: read(path, encoding=told_as))


def test_utf_8_told_as_latin_1_is_remarked_on(write):
    path = write("a,y\n" + "".join(f"café {i},{i % 2}\n" for i in range(20)))
    assert "t.csv is read as latin-1, and could be utf-8" in CsvTable(path, "y", text="a", encoding="latin-1").remarks()
    assert all("could be" not in told for told in CsvTable(path, "y", text="a").remarks())


def test_a_codec_that_makes_no_text_is_refused():
    with pytest.raises(ParameterError, match="there is no encoding 'base64'"):
        REGISTRY.build("dataset", Ref.of("csv", train="t.csv", target="y", encoding="base64"))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_separator_is_asked_about(write, mark):
    path = write(mark.join(["a", "b", "y"]) + "\n" + mark.join(["1,5", "2", "3"]) + "\n")
    told = said(lambda: prices(path).task)
    shown = "\\t" if mark == "\t" else mark
    assert told.endswith(f'; is separator = "{shown}" right?')
    assert "line 1: there is one column only" in told


def test_one_column_alone_is_not_enough(write):
    told = said(lambda: prices(write("y\n1\n2\n")).task)
    assert told.endswith("there is one column only, 'y', and beside the target there has to be another")


def test_a_column_that_is_not_there_is_told_without_ten_thousand_names(write):
    path = write(",".join(f"c{i}" for i in range(10_000)) + "\n" + ",".join("1" * 10_000) + "\n")
    told = said(lambda: prices(path).task)
    assert told.endswith("c18, c19 and 9980 more")
