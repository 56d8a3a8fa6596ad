"""Two columns of texts: one row of numbers, of which both texts have a fair share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finefuse import FinefuseError, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets._tokens import bucket, hashed_pairs, tokenised
from finefuse_zoo.datasets.csv_table import CsvTable


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    rows = [f"it rains {i},{'it is wet' if i % 2 else ''},{'ny'[i % 2]},x" for i in range(40)]
    (tmp_path / "nli.csv").write_text("\n".join(["premise,claim,label,source", *rows]) + "\n")
    return tmp_path / "nli.csv"


def data(file: Path, **params: Any) -> CsvTable:
    return CsvTable(**{"train": file, "target": "label", "text": "premise", "text_pair": "claim", **params})


def numbers(*words: str) -> list[int]:
    return [bucket(word, 100) if word else 1 for word in words]


@pytest.mark.parametrize(
    ("first", "second", "row"),
    [
        ("a b", "c", [*numbers("a", "b", "", "c"), 0, 0]),
        ("a b c d e f", "g", numbers("a", "b", "c", "d", "", "g")),
        ("g", "a b c d e f", numbers("g", "", "a", "b", "c", "d")),
        ("a b c d e", "f g h i j", numbers("a", "b", "", "f", "g", "h")),
        ("", "a", [1, *numbers("a"), 0, 0, 0, 0]),
        ("", "", [1, 0, 0, 0, 0, 0]),
    ],
)
def test_the_longer_text_is_cut_and_a_one_stands_between(first: str, second: str, row: list[int]) -> None:
    assert hashed_pairs([first], [second], 6, 100).tolist() == row


def test_the_order_of_the_two_counts_and_rows_stay_together(pairs: Path) -> None:
    splits = data(pairs, max_tokens=9, vocabulary=100).splits(0)
    assert data(pairs, max_tokens=9).task.input_shape == (9,)
    wet = numbers("it", "is", "wet")
    for x, y in zip(splits.train.x.tolist(), splits.train.y.tolist(), strict=True):
        assert x[:2] == numbers("it", "rains")
        assert x[3] == 1
        assert x[4:7] == (wet if y else [0, 0, 0])
    swapped = data(pairs, text="claim", text_pair="premise", max_tokens=9, vocabulary=100).splits(0)
    assert swapped.train.x.tolist() != splits.train.x.tolist()


def test_the_card_s_code_makes_the_same_numbers(pairs: Path) -> None:
    table, names = data(pairs, max_tokens=6, vocabulary=100), dict[str, Any]()
    about = table.describe(0)
    exec(about.encode, names)
    assert len(names["encode"](about.example, about.inputs)) == 6
    for pair in (["it rains 1", "it is wet"], ["", "a"], ["a b c d e", "f"]):
        (row,) = [hashed_pairs([pair[0]], [pair[1]], 6, 100).tolist()]
        assert names["encode"](pair, about.inputs) == row


def test_new_pairs_are_read_and_a_missing_column_is_named(pairs: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    new.write_text("claim,premise\nit is wet,it rains 1\n")
    x = data(pairs, max_tokens=9, vocabulary=100).read_inputs(new, 0)[1]
    assert x.tolist() == [[*numbers("it", "rains", "1", "", "it", "is", "wet"), 0, 0]]
    new.write_text("premise,x\nit rains,1\n")
    with pytest.raises(FinefuseError, match="there is no column 'claim'"):
        data(pairs).read_inputs(new, 0)
    with pytest.raises(FinefuseError, match="there is no column 'clam'; did you mean 'claim'"):
        _ = data(pairs, text_pair="clam").task


def test_what_is_empty_or_left_out_is_told_of_both(pairs: Path) -> None:
    assert data(pairs).remarks() == [
        "leaves out 1 columns beside 'premise' and 'claim' and 'label'",
        "20 texts in 'claim' are empty",
    ]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"text_pair": "b"}, "`text_pair` is the second of two texts"),
        ({"text": "a", "text_pair": "b", "max_tokens": 2}, "3 tokens or more"),
        ({"text": "a", "text_pair": "a"}, "`text` and `text_pair` are 'a' twice"),
        ({"text": "a", "text_pair": "y"}, "'y' is the target"),
    ],
)
def test_what_can_not_be_is_refused(params: dict[str, Any], sentence: str) -> None:
    given = Ref.of("csv", train="t.csv", target="y", **params)
    with pytest.raises(ParameterError, match=sentence):
        Registry(("finefuse_zoo.hooks",), entry_points=False).build("dataset", given)


class Joins:
    """A tokeniser of letters, which joins pairs by 98 and puts 99 at the end."""

    pad_token_id = 0

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 1 + pair

    def __call__(self, *texts: list[str], truncation: bool, max_length: int) -> dict[str, list[list[int]]]:
        assert truncation
        rows = [[98 if sign == "|" else ord(sign) - 96 for sign in "|".join(pair)] for pair in zip(*texts, strict=True)]
        return {"input_ids": [[*row[: max_length - 1], 99] for row in rows]}


def test_a_tokeniser_joins_pairs_itself() -> None:
    assert tokenised(["ab"], 6, Joins(), "joins", ["c"]).tolist() == [1, 2, 98, 3, 99, 0]
    assert tokenised(["ab"], 6, Joins(), "joins").tolist() == [1, 2, 99, 0, 0, 0]
    with pytest.raises(FinefuseError, match="leaves no room for text beside its 2 special tokens"):
        tokenised(["ab"], 2, Joins(), "joins", ["c"])
