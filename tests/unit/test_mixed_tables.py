"""Tables with categories, dates and gaps: what each column becomes, from which rows, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finefuse import FinefuseError, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets._mixed import date_of
from finefuse_zoo.datasets.csv_table import CsvTable

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))

    def made(rows: list[str], name: str = "t.csv", header: str = "age,town,joined,note,rich,part") -> Path:
        (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
        return tmp_path / name

    return made


@pytest.fixture
def people(write: Write) -> Path:
    """60 rows to train on, two for val and two for the test; one town and one age are in the test alone."""
    towns = ("Ulm", "Bonn", "")
    ages = [str(20 + i) if i % 10 else "NA" for i in range(60)]
    rows = [f"{ages[i]},{towns[i % 3]},2024-{1 + i % 12:02}-17,n{i},{'ny'[i % 2]},train" for i in range(60)]
    rows += ["30,Ulm,2024-05-17,a,n,val", "31,Bonn,,b,y,val"]
    return write([*rows, "1000,Rome,2024-05-17,c,n,test", ",Ulm,2024-05-17,d,y,test"])


def table(file: Path, **params: Any) -> CsvTable:
    return CsvTable(**{"train": file, "target": "rich", "split": "part", "columns": "all", **params})


def encoder(data: CsvTable) -> Callable[[dict[str, Any]], list[float]]:
    """What the card of an exported model prints."""
    about, names = data.describe(0), dict[str, Any]()
    exec(about.encode, names)
    return lambda raw: names["encode"](raw, about.inputs)


def test_each_column_becomes_what_it_holds(people: Path) -> None:
    data = table(people)
    splits = data.splits(0)
    assert data.task.input_shape == (1 + 4 + 3,)
    assert splits.train.x.shape == (60, 8)
    ages = np.array([20.0 + i for i in range(60) if i % 10])
    filled = np.array([20.0 + i if i % 10 else ages.mean() for i in range(60)])
    assert splits.train.x[:, 0].numpy() == pytest.approx((filled - filled.mean()) / filled.std(), abs=1e-5)
    assert splits.train.x[:3, 1:5].tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]], "gap, Bonn, Rome, Ulm"
    days = splits.train.x[:, 5:8].numpy()
    assert (days.mean(0), days.std(0)) == (pytest.approx([0] * 3, abs=1e-5), pytest.approx([1] * 3, abs=1e-5))
    assert splits.val.x[1, 5:8].tolist() == [0, 0, 0], "a missing date is the mean"


def test_nothing_is_learned_from_val_or_test(people: Path) -> None:
    before = table(people).splits(0)
    assert before.test.x[0, 1:5].tolist() == [0, 0, 0, 0], "no training row is from Rome"
    assert before.test.x[1, 0] == 0
    people.write_text(people.read_text().replace("1000,Rome", "5,Rome").replace("30,Ulm", "99,Bonn"))
    after = table(people).splits(0)
    assert after.train.x.tolist() == before.train.x.tolist()
    assert after.test.x[0, 0] != before.test.x[0, 0]


def test_the_width_is_that_of_the_file_for_every_seed_and_shots_change_no_scale(people: Path) -> None:
    data = table(people, split=None, features=("age", "town", "joined"))
    assert {tuple(data.splits(seed).train.x.shape[1:]) for seed in range(4)} == {data.task.input_shape}
    few = table(people, shots=2).splits(0)
    whole = {tuple(row) for row in table(people).splits(0).train.x.tolist()}
    assert {tuple(row) for row in few.train.x.tolist()} < whole


def test_the_card_s_code_makes_the_same_inputs(people: Path) -> None:
    data = table(people)
    encode, splits = encoder(data), data.splits(0)
    assert encode({"age": 1000, "town": "Rome", "joined": "2024-05-17"}) == pytest.approx(splits.test.x[0].tolist())
    assert encode({"age": None, "town": "Ulm", "joined": "2024-05-17"}) == pytest.approx(splits.test.x[1].tolist())
    assert encode({"age": 31, "town": "Bonn", "joined": None}) == pytest.approx(splits.val.x[1].tolist())
    train = encode({"age": None, "town": None, "joined": "2024-03-17"})
    assert train[1:5] == [1, 0, 0, 0]
    assert len(encode(data.describe(0).example)) == 8


def test_new_rows_are_read_as_these(people: Path, write: Write) -> None:
    data = table(people)
    new = write(["2024-05-17,Rome,1000"], "new.csv", "joined,town,age")
    assert data.read_inputs(new, 0)[1].tolist() == data.splits(0).test.x[:1].tolist()
    wrong = write(["2024-05-17,Rome,x"], "new.csv", "joined,town,age")
    with pytest.raises(FinefuseError, match="line 2: 'age' is 'x', and a finite number is needed"):
        data.read_inputs(wrong, 0)
    wrong = write(["May,Rome,3"], "new.csv", "joined,town,age")
    with pytest.raises(FinefuseError, match="line 2: 'joined' is 'May', and a date such as 2024-05-17 is needed"):
        data.read_inputs(wrong, 0)


def test_it_is_told_which_numbers_are_constant_or_a_second_target(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("code,one,town,y\n" + "".join(f"{i % 2},1,{'pqr'[i % 3]},{'ab'[i % 2]}\n" for i in range(12)))
    assert CsvTable(file, "y", columns="all").remarks()[2:] == [
        "'one': always the same value",
        "'code': tells the target 'y' by itself; is it a second one?",
    ]


def test_it_is_told_what_columns_are_taken_for(people: Path) -> None:
    assert table(people).remarks() == [
        "numbers: 'age'",
        "dates: 'joined'",
        "categories: 'town'",
        "leaves out 'note' (64 different texts)",
    ]
    named = table(people, features=("town", "note"))
    assert named.task.input_shape == (4 + 64,)


def test_a_column_of_almost_numbers_is_an_error_with_the_line(people: Path) -> None:
    people.write_text(people.read_text().replace("31,Bonn", "about 31,Bonn"))
    with pytest.raises(FinefuseError, match=r"line 63: 'age' is 'about 31', and a finite number is needed"):
        table(people).splits(0)


def test_columns_of_one_kind_alone(write: Write) -> None:
    rows = [f"{'ab'[i % 2]},{'ny'[i % 3 == 0]}" for i in range(40)]
    assert CsvTable(write(rows, header="x,rich"), "rich", columns="all").splits(0).train.x.shape[1] == 2
    same = write([f"7,2020-01-01,{'ny'[i % 2]}" for i in range(40)], header="x,day,rich")
    assert not CsvTable(same, "rich", columns="all").splits(0).test.x.any(), "what never varies becomes 0"
    texts = write([f"name {i},{'ny'[i % 2]}" for i in range(60)], header="x,rich")
    with pytest.raises(FinefuseError, match="no column but the target that can be used"):
        CsvTable(texts, "rich", columns="all").splits(0)


def test_texts_have_one_column() -> None:
    given = Ref.of("csv", train="t.csv", target="y", text="x", columns="all")
    with pytest.raises(ParameterError, match='columns = "all" is for tables'):
        Registry(("finefuse_zoo.hooks",), entry_points=False).build("dataset", given)


def test_dates_are_days_and_a_time_of_the_year() -> None:
    found = date_of(" 1971-01-01T12:00 ")
    assert found is not None
    turn = 2 * math.pi * 365.5 / 365.25
    assert found == pytest.approx((365.5, math.sin(turn), math.cos(turn)))
    assert date_of("17.05.2024") is None
