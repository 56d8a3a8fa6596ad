"""`finefuse predict`: new inputs are read as the run's own, and come back with names, probabilities and units."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import finefuse
from finefuse import FinefuseError
from finefuse.cli import main
from finefuse.discovery import capabilities
from finefuse.engine.store.artifacts import Artifacts
from finefuse_zoo.datasets.csv_table import CsvTable
from finefuse_zoo.datasets.folder import Folder
from finefuse_zoo.datasets.manifest import Manifest
from helpers.folders import CLASSES


class Shop:
    """A run over a table of labels and one of values, whose test rows stand in files of their own."""

    def __init__(self, place: Path) -> None:
        self.place, self.store = place, place / "store"
        rng = np.random.default_rng(0)
        for name, count in (("train", 80), ("test", 12)):
            rows = rng.normal(5, 3, (count, 2))
            lines = [f"{a},{b},{'big' if a > 5 else 'small'},{1000 + 50 * a - 20 * b}" for a, b in rows]
            (place / f"{name}.csv").write_text("\n".join(["a,b,size,price", *lines]) + "\n")
        self.sizes = self._table("size")
        self.prices = self._table("price", kind="regression")
        suite = {
            "name": "shop",
            "budget": {"epochs": 15, "batch_size": 16},
            "datasets": [self.sizes, self.prices],
            "backbones": ["mlp-table"],
            "schemes": ["full"],
            "fusions": ["mean-logits"],
            "pools": {"pair": {"of": ["full"], "copies": 2}},
            "latency": [],
        }
        options: dict[str, Any] = {"device": "cpu", "workers": 0, "quiet": True, "reporters": []}
        self.run = finefuse.run(suite, out=place / "out", store=self.store, **options)
        assert self.run.ok, [row["reason"] for row in self.run.rows]

    def _table(self, target: str, **more: Any) -> dict[str, Any]:
        files = {name: str(self.place / f"{name}.csv") for name in ("train", "test")}
        return {"use": "csv", **files, "target": target, "features": ["a", "b"], **more}

    def row(self, label: str, kind: str) -> Any:
        metric = {"classification": "accuracy", "regression": "rmse"}[kind]
        own = [row for row in self.run.rows if row["label"] == label and metric in row.get("metrics", ())]
        return next(row for row in own if row["kind"] in ("tune", "fuse") and not row["member"])

    def predict(self, label: str, kind: str, inputs: Path) -> Any:
        return finefuse.predict(self.run.folder, self.row(label, kind)["cell"], inputs, store=self.store)

    def measured(self, label: str, kind: str) -> torch.Tensor:
        return Artifacts(self.store).outputs(self.row(label, kind)["artifact"])["test"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def refusal(call: Any) -> str:
    with pytest.raises(FinefuseError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("label", ["full", "mean-logits"])
def test_labels_have_names_and_the_probabilities_that_were_measured(shop: Shop, label: str) -> None:
    found = shop.predict(label, "classification", shop.place / "test.csv")
    assert found.columns == ("input", "label", "p(big)", "p(small)")
    shares = shop.measured(label, "classification").double().softmax(1)
    assert [row[2:] for row in found.rows] == [pytest.approx(share, abs=2e-6) for share in shares.tolist()]
    assert [row[1] for row in found.rows] == [("big", "small")[i] for i in shares.argmax(1).tolist()]
    assert [row[0] for row in found.rows] == [f"line {number}" for number in range(2, 14)]


def test_values_are_in_the_units_of_the_column(shop: Shop) -> None:
    found = shop.predict("full", "regression", shop.place / "test.csv")
    assert found.columns == ("input", "price")
    known = [float(line.split(",")[3]) for line in (shop.place / "train.csv").read_text().split()[1:]]
    outputs = shop.measured("full", "regression").double()[:, 0] * np.std(known) + np.mean(known)
    assert [row[1] for row in found.rows] == pytest.approx(outputs.tolist(), rel=1e-5)


def test_the_target_is_not_needed_and_the_order_of_columns_does_not_count(shop: Shop, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (shop.place / "test.csv").read_text().split()]
    new = tmp_path / "new.csv"
    new.write_text("\n".join(f"{b},{a}" for a, b, *_ in rows) + "\n")
    assert shop.predict("full", "classification", new) == shop.predict(
        "full", "classification", shop.place / "test.csv"
    )


def test_an_array_is_taken_as_it_is(shop: Shop, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    found = shop.predict("full", "classification", tmp_path / "x.npy")
    assert [row[0] for row in found.rows] == ["0", "1", "2"]
    assert len({row[1:] for row in found.rows}) == 1


def array(content: Any) -> Any:
    return lambda file: np.save(file, content)


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("gone.csv", None, "there is no such file or folder"),
        ("t.csv", lambda file: file.write_text("a,c\n1,2\n"), "there is no column 'b'"),
        ("t.csv", lambda file: file.write_text("a,b\n1,2\nx,3\n"), "line 3: 'a' is 'x', and a finite number is needed"),
        ("t.csv", lambda file: file.write_text("a,b\n1,\n"), "line 2: 'b' is empty, and a finite number is needed"),
        ("t.csv", lambda file: file.write_text("a,b\n"), "there is a header and no row below it"),
        ("x.npy", lambda file: file.write_bytes(b"no array"), "no array of numbers that can be read"),
        (
            "x.npy",
            array(np.zeros((2, 3), np.float32)),
            "inputs are (N, 3) of float32, and the network takes (N, 2) of float32",
        ),
        ("x.npy", array(np.zeros((2, 2))), "inputs are (N, 2) of float64, and the network takes (N, 2) of float32"),
        ("x.npy", array(np.zeros((0, 2), np.float32)), "there is no input in it"),
        ("x.npy", array(np.array(["a"])), "no array of numbers that can be read"),
        ("x.npy", lambda file: file.write_bytes(b""), "no array of numbers that can be read"),
        ("x.npy", lambda file: file.write_bytes(b"PK\x03\x04"), "no array of numbers that can be read"),
        ("x.npy", array(np.full((2, 2), np.nan, np.float32)), "outputs are not finite for 2 of 2 examples"),
    ],
)
def test_bad_inputs_are_one_sentence_exit_code_2_and_no_file(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, write: Any, sentence: str
) -> None:
    where, to = tmp_path / name, tmp_path / "out.csv"
    if write is not None:
        write(where)
    cell = shop.row("full", "classification")["cell"]
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(shop.run.folder), cell, str(where), "--to", str(to), "--store", str(shop.store)])
    said = capsys.readouterr().err
    assert (ended.value.code, to.exists(), said.count("\n")) == (2, False, 1)
    assert said.startswith(f"error: {where}")
    assert sentence in said


def test_the_command_writes_csv_and_keeps_what_is_there(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, to = shop.row("full", "classification")["cell"], tmp_path / "made" / "out.csv"
    command = ["predict", str(shop.run.folder), cell, str(shop.place / "test.csv"), "--store", str(shop.store)]

    def call(*more: str) -> int | str | None:
        with pytest.raises(SystemExit) as ended:
            main([*command, *more])
        return ended.value.code

    assert call() == 0
    printed = capsys.readouterr().out
    assert call("--to", str(to)) == 0
    assert to.read_text() == printed
    rows = list(csv.DictReader(StringIO(printed)))
    assert len(rows) == 12
    assert {row["label"] for row in rows} == {"big", "small"}
    assert call("--to", str(to)) == 2
    assert "exists already; --force writes over it" in capsys.readouterr().err
    assert call("--to", str(to), "--force") == 0
    assert call("--to", str(to / "below.csv")) == 2
    assert f"can't write {to / 'below.csv'}: " in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ pictures


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixture_module: Any) -> Path:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    found: Path = fixture_module("images").tree(tmp_path / "train", CLASSES, 6, (11, 9))
    return found


def test_pictures_are_read_as_those_of_the_splits_with_their_paths(train: Path) -> None:
    data = Folder(train, size=8, val=1)
    names, x = data.read_inputs(train / "bee", 0)
    assert names == [f"{i:03}.png" for i in range(6)]
    splits = data.splits(0)
    own = {one.numpy().tobytes() for part in (splits.train, splits.val, splits.test) for one in part.x[part.y == 1]}
    assert {one.numpy().tobytes() for one in x} == own
    names, one = data.read_inputs(train / "bee" / "003.png", 0)
    assert names == ["003.png"]
    assert torch.equal(one[0], x[3])
    listed = train.parent / "list.csv"
    listed.write_text("path,label,split\ntrain/ant/000.png,ant,train\ntrain/bee/003.png,bee,train\n")
    assert torch.equal(Manifest(listed, size=8).read_inputs(train / "bee" / "003.png", 0)[1], one)


def test_a_folder_is_read_with_all_below_and_a_file_that_is_no_picture_is_named(train: Path) -> None:
    (train / ".hidden").mkdir()
    (train / ".hidden" / "x.txt").write_text("x")
    names, x = Folder(train, size=8).read_inputs(train, 0)
    assert (len(names), names[0]) == (18, "ant/000.png")
    assert x.shape == (18, 3, 8, 8)
    (train / "bee" / "notes.txt").write_text("not a picture")
    assert refusal(lambda: Folder(train, size=8).read_inputs(train, 0)).startswith(
        f"{train / 'bee' / 'notes.txt'}: no picture"
    )


def test_texts_need_only_their_column(tmp_path: Path) -> None:
    file, new = tmp_path / "t.tsv", tmp_path / "new.tsv"
    file.write_text("mood\tsaid\n" + "".join(f"{'ab'[i % 2]}\tword {i}\n" for i in range(20)))
    new.write_text("said\nword 3\n\nword 4\n")
    data = CsvTable(file, "mood", text="said", max_tokens=4)
    names, x = data.read_inputs(new, 0)
    assert names == ["line 2", "line 4"]
    assert x.shape == (2, 4)
    assert "there is no column 'said'" in refusal(lambda: data.read_inputs(_with(new, "text\nword\n"), 0))


def _with(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_only_a_method_reads_inputs() -> None:
    class Odd:
        read_inputs = "yes"

    assert "should be a method" in refusal(lambda: capabilities.reads_inputs(Odd()))
