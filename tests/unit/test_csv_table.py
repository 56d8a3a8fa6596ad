"""`csv` data sets: texts and numbers in delimited files, and what is said about files that are wrong."""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from finefuse import Classification, FinefuseError, Ref, Regression
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError, SuiteError
from finefuse_zoo.datasets._tokens import bucket, hashed, tokens
from finefuse_zoo.datasets.csv_table import CsvTable

DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "text"
REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path: Path):
    def made(text: str | bytes, name: str = "t.csv") -> Path:
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return made


@pytest.fixture
def numbers(write) -> Path:
    """60 rows: a, b, a constant, a name, and price = 100 + 10 a, exactly."""
    rng = np.random.default_rng(0)
    a = rng.normal(5, 3, 60)
    rows = [f"{x},{rng.normal(-2, 40)},7,n{i},{100 + 10 * x}" for i, x in enumerate(a)]
    return write("a,b,same,name,price\n" + "\n".join(rows) + "\n", "n.csv")


@pytest.fixture
def sentences(write) -> Path:
    """40 texts of two classes, each of them another."""
    rows = [f"{'good' if i % 2 else 'bad'}\tfilm number {i} was {'fine' if i % 2 else 'dull'}" for i in range(40)]
    return write("mood\tsaid\n" + "\n".join(rows) + "\n", "s.tsv")


def texts(path: Path, **params) -> CsvTable:
    return CsvTable(**{"train": path, "target": "mood", "text": "said", "max_tokens": 6, **params})


def prices(path: Path, **params) -> CsvTable:
    return CsvTable(**{"train": path, "target": "price", "kind": "regression", **params})


def said(call) -> str:
    with pytest.raises(FinefuseError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# --------------------------------------------------------------------------------------------------------------- texts


def test_tokens_are_lower_case_words_and_single_signs():
    assert tokens("It's 5%, naïve_x!?") == ["it", "'", "s", "5", "%", ",", "naïve_x", "!", "?"]
    assert tokens(" \t ") == []


def test_a_token_is_its_crc_over_the_numbers_from_two_on():
    assert bucket("film", 100) == 2 + crc32(b"film") % 98
    assert {bucket(str(n), 5) for n in range(200)} == {2, 3, 4}


def test_texts_are_cut_and_padded_and_one_without_a_token_is_the_number_one():
    rows = np.array(hashed(["a b c d", "a", ""], 3, 50)).reshape(3, 3).tolist()
    a, b, c = (bucket(token, 50) for token in "abc")
    assert rows == [[a, b, c], [a, 0, 0], [1, 0, 0]]


def test_texts_and_labels_stay_together(sentences):
    dataset = texts(sentences)
    splits = dataset.splits(0)
    assert dataset.task == splits.task == Classification(2, "text", (6,))
    for part in (splits.train, splits.val, splits.test):
        assert part.x.dtype == part.y.dtype == torch.int64
        assert set(part.x[part.y == 0][:, 4].tolist()) == {bucket("dull", 10000)}  # bad comes before good
        assert set(part.x[part.y == 1][:, 4].tolist()) == {bucket("fine", 10000)}
        assert set(part.x[:, 5].tolist()) == {0}


def test_the_vocabulary_bounds_the_numbers(sentences):
    x = texts(sentences, vocabulary=7).splits(0).train.x
    assert int(x.max()) < 7


# -------------------------------------------------------------------------------------------------------------- splits


def rows(part) -> set[bytes]:
    return {x.numpy().tobytes() for x in part.x}


def test_without_a_test_file_a_share_of_every_class_is_cut(sentences):
    splits = texts(sentences, val=0.25, test_share=0.2).splits(0)
    counts = [torch.bincount(part.y).tolist() for part in (splits.train, splits.val, splits.test)]
    assert counts == [[12, 12], [4, 4], [4, 4]]
    assert len(rows(splits.train) | rows(splits.val) | rows(splits.test)) == 40


def test_a_test_file_is_taken_as_it_is(sentences, write):
    test = write("said\tmood\nfine\tgood\ndull\tbad\nfine !\tgood\n", "test.tsv")  # other columns first
    splits = texts(sentences, test=test, val=3).splits(0)
    assert splits.test.y.tolist() == [1, 0, 1]
    assert splits.test.x[0].tolist() == [bucket("fine", 10000), 0, 0, 0, 0, 0]
    assert [len(splits.train), len(splits.val)] == [34, 6]


def test_more_shots_are_fewer_and_more_and_leave_val_and_test_alone(sentences):
    few, more = (texts(sentences, shots=k).splits(3) for k in (2, 5))
    assert torch.bincount(few.train.y).tolist() == [2, 2]
    assert rows(few.train) < rows(more.train)
    for part in ("val", "test"):
        assert torch.equal(getattr(few, part).x, getattr(more, part).x)


def test_a_seed_decides_the_splits(sentences):
    one, same, other = (texts(sentences).splits(seed) for seed in (1, 1, 2))
    assert torch.equal(one.train.x, same.train.x)
    assert not torch.equal(one.train.x, other.train.x)


def test_a_class_with_too_few_rows_is_named(sentences):
    assert "class 'bad' has 20 rows, and 4 for the test, 2 for validation, 15 for training were asked for" in said(
        lambda: texts(sentences, shots=15).splits(0)
    )


# ------------------------------------------------------------------------------------------------------------- numbers


def test_columns_are_standardised_by_the_rows_for_training_and_a_constant_is_zero(numbers):
    splits = prices(numbers, features=("b", "same", "a")).splits(0)
    assert splits.train.x.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert splits.train.x.std(0, unbiased=False).tolist() == pytest.approx([1, 0, 1], abs=1e-6)
    assert splits.test.x[:, 1].tolist() == [0.0] * len(splits.test)


def test_inputs_are_the_same_for_any_number_of_shots(numbers):
    few, all_ = prices(numbers, shots=2).splits(0), prices(numbers).splits(0)
    assert len(few.train) == 2
    assert torch.equal(few.test.x, all_.test.x)
    assert rows(few.train) < rows(all_.train)


def test_without_features_all_other_columns_of_numbers_are_taken(numbers):
    dataset = prices(numbers)
    assert dataset.task == Regression(1, "tabular", (3,))
    assert dataset.splits(0).train.x.shape == (43, 3)


def test_regressed_values_are_in_standard_deviations_of_the_training_file(numbers):
    splits = prices(numbers, val=10).splits(5)
    y = torch.cat([part.y for part in (splits.train, splits.val, splits.test)])
    assert y.shape == (60, 1)
    assert y.dtype == torch.float32
    assert float(y.mean()) == pytest.approx(0, abs=1e-6)
    assert float(y.std(unbiased=False)) == pytest.approx(1, abs=1e-6)


def test_centre_and_spread_say_the_units(numbers):
    raw = prices(numbers, centre=0.0, spread=1.0).splits(0).test.y
    tens = prices(numbers, centre=100.0, spread=10.0).splits(0).test.y
    assert torch.allclose(raw, 100 + 10 * tens)
    values = {round(float(line.split(",")[-1]), 3) for line in numbers.read_text().splitlines()[1:]}
    assert {round(float(value), 3) for value in raw} <= values


def test_labels_may_go_with_numbers(numbers, write):
    path = write("x,kind\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(30)), "k.csv")
    dataset = CsvTable(path, "kind")
    assert dataset.task == Classification(2, "tabular", (1,))
    assert dataset.splits(0).train.y.dtype == torch.int64


# --------------------------------------------------------------------------------------------------------------- files


def test_separators_quotes_empty_lines_and_a_mark_of_the_byte_order(write):
    plain = write('\ufeffa;b\n\n1;"x;""y"""\n2;z\n', "p.txt")
    dataset = CsvTable(plain, "b", separator=";")
    assert dataset._table(plain).columns == {"a": ["1", "2"], "b": ['x;"y"', "z"]}
    tabs = write('a\tb\n1\t"x\n', "q.tsv")
    assert CsvTable(tabs, "b")._table(tabs).columns["b"] == ['"x']


def test_without_a_header_columns_are_numbered_from_one(write):
    path = write("".join(f"{i},{i * i},{'xy'[i % 2]}\n" for i in range(20)))
    dataset = CsvTable(path, "3", header=False, features=("2",))
    assert dataset.task == Classification(2, "tabular", (1,))
    assert sum(len(part) for part in vars(dataset.splits(0)).values() if hasattr(part, "x")) == 20


def test_latin_1_is_read_if_said_and_named_with_its_line_if_not(write):
    path = write("said\tmood\nfine\tgood\ncaf\xe9\tbad\n".encode("latin-1"), "l.tsv")
    told = said(lambda: texts(path).task)
    assert told == f'{path}, line 3: the byte 0xe9 can\'t be read as utf-8; is encoding = "latin-1" right?'
    assert texts(path, encoding="latin-1")._table(path).columns["said"] == ["fine", "café"]


def test_the_fingerprint_is_that_of_the_content(sentences, write):
    before = texts(sentences).fingerprint()
    twin = write(sentences.read_bytes(), "twin.tsv")
    assert texts(twin).fingerprint() == before
    assert texts(sentences, test=twin).fingerprint() != before
    sentences.write_text(sentences.read_text().replace("dull", "grey"))
    assert texts(sentences).fingerprint() != before
    assert int((texts(sentences).splits(0).train.x == bucket("grey", 10000)).sum()) > 0


WRONG = {
    "empty": ("", "the file is empty"),
    "header only": ("a,price\n", "there is a header and no row below it"),
    "no number": ("a,price\n1,2\n?,3\n" + "4,5\n" * 6, ", line 3: 'a' is '?', and a finite number is needed"),
    "nothing": (
        "a,price\n1,2\n,3\n" + "4,5\n" * 6,
        ", line 3: 'a' is empty, and a finite number is needed; missing = \"mean\" puts the column's mean there",
    ),
    "not finite": ("a,price\n1,2\n\n3,inf\n", ", line 4: 'price' is 'inf', and a finite number is needed"),
    "ragged": ("a,price\n1,2\n1,2,3\n", ", line 3: 3 fields where 2 are expected"),
    "twice": ("price,price\n1,2\n", ", line 1: more than one column is called 'price'"),
    "other": ("a,Prices\n1,2\n", "there is no column 'price'; did you mean 'Prices'?"),
    "far": ("a,b\n1,2\n", "there is no column 'price', only a, b"),
    "no features": (
        "name,price\nx,2\n" + "y,3\n" * 6,
        "there is no column of numbers but the target; is `text` missing?",
    ),
    "one value": ("a,price\n1,2\n3,2\n4,2\n5,2\n6,2\n", "all values of 'price' are the same"),
    "open quote": ('a,price\n1,"2\n', "line 2: unexpected end of data; is `quotes` right?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_sentence_says_what_is_wrong_and_where(case, write):
    text, expected = WRONG[case]
    told = said(lambda: prices(write(text), val=1).splits(0))
    assert told.startswith(str(write(text)))
    assert told.endswith(expected)


def test_a_file_that_is_not_there_is_named(tmp_path, sentences):
    missing = tmp_path / "none.csv"
    assert said(lambda: prices(missing).task) == f"{missing}: no such file or directory"
    assert str(missing) in said(lambda: prices(missing).fingerprint())
    assert str(missing) in said(lambda: texts(sentences, test=missing).splits(0))


def test_labels_that_are_wrong_are_named(sentences, write):
    test = write("said\tmood\nx\tgood\ny\tugly\n", "test.tsv")
    assert said(lambda: texts(sentences, test=test).splits(0)).endswith(
        "test.tsv, line 3: the training file has no label 'ugly' in 'mood'"
    )
    assert said(lambda: texts(write("said\tmood\nx\tgood\n", "o.tsv")).task).endswith("'good', and two are needed")
    assert "line 3: the label 'mood' is empty" in said(lambda: texts(write("said\tmood\nx\tb\ny\t\n", "e.tsv")).task)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"encoding": "utf9"}, "there is no encoding 'utf9'"),
        ({"text": "a", "features": ["b"]}, "only one of text and features"),
        ({"test": "t.csv"}, "`train` and `test` are the same"),
        ({"tokenizer_hub": "bert", "text": "a"}, "'bert' has no revision"),
        ({"tokenizer": "bert"}, "a tokeniser needs `text`"),
        ({"separator": "::"}, "separator"),
        ({"shots": 1, "fraction": 0.5}, "only one of shots and fraction"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, expected):
    with pytest.raises(ParameterError, match=expected):
        REGISTRY.build("dataset", Ref.of("csv", train="t.csv", target="y", **params))


def test_a_suite_says_where_the_column_is_wrong(sentences, tmp_path):
    suite = tmp_path / "s.toml"
    suite.write_text(
        'name = "x"\nschemes = ["full"]\nbackbones = ["text-cnn"]\n'
        'datasets = [{ use = "csv", train = "s.tsv", target = "mod", text = "said" }]\n'
    )
    with pytest.raises(SuiteError, match=r"s.toml:4.*there is no column 'mod'; did you mean 'mood'\?"):
        load_suite(suite, Registry(("finefuse_zoo.hooks",), entry_points=False))


# ----------------------------------------------------------------------------------------------------------- real data


@pytest.mark.skipif(not (DATA / "sst2" / "dev.tsv").is_file(), reason=f"there is no {DATA / 'sst2'}")
def test_sst2_is_read_whole():
    dataset = CsvTable(DATA / "sst2" / "dev.tsv", "label", text="sentence")
    splits = dataset.splits(0)
    assert dataset.task == Classification(2, "text", (64,))
    assert len(splits.train) + len(splits.val) + len(splits.test) == 872
    assert int(sum(part.y.sum() for part in (splits.train, splits.val, splits.test))) == 444


def test_it_is_told_how_much_an_error_of_one_is(numbers):
    spread = float(np.std([float(line.split(",")[4]) for line in numbers.read_text().split()[1:]]))
    assert f"an error of 1 is {spread:.4g} in the units of 'price'" in prices(numbers).remarks()
    assert all("an error of 1" not in said for said in prices(numbers, centre=0, spread=1).remarks())
