"""Exported files are used from their card alone: what a card says is run where no finefuse is to be had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import finefuse
from finefuse import api
from finefuse.deploy.export import _val_used
from finefuse.deploy.usage import LISTED, Example, Usage, block, formula, loading
from finefuse.discovery import capabilities
from finefuse.discovery.capabilities import DeclarationError
from finefuse.types import Description
from finefuse_zoo.datasets._encodings import NUMBERS, WORDS
from finefuse_zoo.datasets._tokens import hashed
from finefuse_zoo.datasets.csv_table import CsvTable
from helpers.crossing import TINY

ELSEWHERE = """
import json, os, pathlib, sys
sys.modules["finefuse"] = sys.modules["finefuse_zoo"] = None  # importing them fails
for folder in map(pathlib.Path, sys.argv[1:]):
    os.chdir(folder)
    (card,) = folder.glob("*.md")
    text = card.read_text(encoding="utf-8")
    names = {}
    exec(text.split("```python")[1].split("```")[0], names)
    told = json.loads(text.split("```json")[1].split("```")[0])
    found, expected = names["outputs"][0].tolist(), told["example"]["outputs"]
    assert len(found) == len(expected) > 0
    assert max(abs(a - b) for a, b in zip(found, expected)) < 1e-4, (found, expected)
    print(folder.name, len(expected))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and a table with a label and a price."""
    place, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'low' if a < b else 'high'},{100 + 9 * a - b:.3f}" for a, b in rng.normal(5, 3, (40, 2))]
    (place / "t.csv").write_text("a,b,kind,price\n" + "\n".join(rows) + "\n")
    texts = [f"{'good' if i % 2 else 'bad'}\tfilm {i} was {'fine' if i % 2 else 'dull'}" for i in range(40)]
    (place / "s.tsv").write_text("mood\tsaid\n" + "\n".join(texts) + "\n")
    return place


SUITES: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({"train": "t.csv", "target": "kind", "features": ["a", "b"]}, "mlp-table"),
    "prices": ({"train": "t.csv", "target": "price", "kind": "regression", "features": ["b", "a"]}, "mlp-table"),
    "texts": ({"train": "s.tsv", "target": "mood", "text": "said", "max_tokens": 8, "vocabulary": 200}, "text-cnn"),
}


def suite(files: Path, name: str, **more: Any) -> dict[str, Any]:
    params, backbone = SUITES[name]
    small = {"use": backbone, "vocabulary": 200} if backbone == "text-cnn" else {"use": backbone, "width": 8}
    return {
        "name": name,
        "seeds": [3],
        "datasets": [{"use": "csv", **params, "train": str(files / params["train"])}],
        "backbones": [small],
        "schemes": ["full"],
        "metrics": ["rmse"] if name == "prices" else ["accuracy"],
        "budget": {"epochs": 1},
        "latency": [],
        **more,
    }


def run(given: dict[str, Any], place: Path, **how: Any) -> api.Run:
    how = {"executor": "serial", "device": "cpu", "quiet": True} | how
    made = finefuse.run(given, out=place / "out", store=place / "store", **how)
    assert made.ok, [row["reason"] for row in made.bad]
    return made


def told_in(card: Path) -> dict[str, Any]:
    return json.loads(card.read_text(encoding="utf-8").split("```json")[1].split("```")[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("ending", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_card_is_all_that_is_needed_to_use_a_file(ending: str, files: Path, tmp_path: Path) -> None:
    for name in SUITES:
        run(suite(files, name), tmp_path / name)
        to = tmp_path / "made" / name / f"model.{ending}"
        finefuse.export(tmp_path / name / "out", "full", to, store=tmp_path / name / "store")
    folders = [str(tmp_path / "made" / name) for name in SUITES]
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["labels", "2", "prices", "1", "texts", "2"]

    labels, prices, texts = (told_in(tmp_path / "made" / name / f"model.{ending}.md") for name in SUITES)
    assert labels["outputs"] == {"target": "kind", "classes": ["high", "low"]}
    assert prices["inputs"]["columns"] == ["b", "a"]
    assert prices["outputs"]["spread"] > 0
    said = (tmp_path / "made" / "prices" / f"model.{ending}.md").read_text()
    assert "- **data** leaves out 'kind' (not in `features`)\n" in said
    assert (texts["inputs"]["vocabulary"], texts["outputs"]["classes"]) == (200, ["bad", "good"])


@pytest.mark.parametrize("name", ["labels", "prices"])
def test_the_printed_encoding_of_a_table_is_that_of_its_splits(name: str, files: Path) -> None:
    params = {**SUITES[name][0], "train": files / "t.csv"}
    dataset = CsvTable(**{key: tuple(value) if isinstance(value, list) else value for key, value in params.items()})
    told, splits = dataset.describe(7), dataset.splits(7)
    names: dict[str, Any] = {}
    exec(NUMBERS, names)
    table = dataset._table(dataset.train)
    rows = zip(*(table.numbers(column) for column in told.inputs["columns"]), strict=True)
    raw = [dict(zip(told.inputs["columns"], row, strict=True)) for row in rows]
    encoded = {tuple(np.float32(names["encode"](row, told.inputs)).tolist()) for row in raw}
    for part in (splits.train, splits.val, splits.test):
        assert set(map(tuple, part.x.tolist())) <= encoded
    if name == "prices":
        values = torch.cat([part.y for part in (splits.train, splits.val, splits.test)]).double()
        back = values * told.outputs["spread"] + told.outputs["centre"]
        assert sorted(back[:, 0].tolist()) == pytest.approx(sorted(table.numbers("price")), abs=1e-4)


@pytest.mark.parametrize("text", ["A fine film, isn't it?", "", "naïve café 5%", "one two three four five six seven"])
def test_the_printed_encoding_of_texts_is_ours(text: str) -> None:
    names: dict[str, Any] = {}
    exec(WORDS, names)
    assert names["encode"](text, {"tokens": 6, "vocabulary": 50}) == hashed([text], 6, 50).tolist()


def test_a_tokeniser_is_named_in_the_card(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm\nfine\n")
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    dataset = CsvTable(files / "s.tsv", "mood", text="said", max_tokens=6, tokenizer=tmp_path)
    told, names = dataset.describe(0), {}
    exec(told.encode, names)
    assert told.inputs["padding"] == 0
    x = torch.tensor([names["encode"](text, told.inputs) for text in dataset._table(dataset.train).columns["said"]])
    test = dataset.splits(0).test.x
    assert {tuple(row) for row in test.tolist()} <= {tuple(row) for row in x.tolist()}


def test_other_data_sets_have_an_example_by_a_formula(tmp_path: Path) -> None:
    pictures = {"use": "digits", "shots": 5}
    tiny = {"use": "tiny", "images": True}  # pretrains in no time
    run(suite(Path(), "labels", datasets=[pictures], backbones=[tiny]), tmp_path, plugins=TINY)
    made = finefuse.export(tmp_path / "out", "full", tmp_path / "m" / "d.pt2", store=tmp_path / "store", plugins=TINY)
    told = told_in(made.card)
    assert len(told["example"]["outputs"]) == 10
    assert np.array(told["example"]["x"]).shape == (1, 8, 8)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "m")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 250), ("int64", 1), ("float32", 250 / 251)])
def test_the_formula_of_large_inputs_is_the_tensor_that_was_run(dtype: str, most: float) -> None:
    from finefuse.deploy.export import _by_formula

    assert LISTED < 3 * 32 * 32
    x = eval(formula((3, 32, 32), dtype), {"numpy": np})
    assert x.shape == (1, 3, 32, 32)
    assert x.max() == pytest.approx(most)
    assert torch.equal(torch.from_numpy(x)[0], _by_formula((3, 32, 32), getattr(torch, dtype)))
    code = "\n".join(loading(Path("m.onnx"), Usage(Description(), Example((3, 32, 32), dtype, [1.0]))))
    assert formula((3, 32, 32), dtype) in code
    compile(code.split("```python")[1].split("```")[0], "card", "exec")


def test_nothing_to_say_is_no_block() -> None:
    assert block(Usage()) == []


def test_a_description_is_one() -> None:
    class Odd:
        def describe(self, seed: int) -> Any:
            return {"seed": seed}

    with pytest.raises(DeclarationError, match="from its `describe`, which should be a Description"):
        capabilities.description(Odd(), 0)
    assert capabilities.description(object(), 0) == Description()


# --------------------------------------------------------------------------------------------- pools, and val figures


@pytest.mark.parametrize("ending", ["pt2", "safetensors"])
def test_a_student_of_members_with_other_backbones_is_exported(ending: str, files: Path, tmp_path: Path) -> None:
    backbones = [{"use": "mlp-table", "width": 8}, {"use": "mlp-table", "width": 6, "as": "narrow"}]
    mixed = {"pools": {"mixed": {"of": ["full"], "backbones": "*"}}, "fusions": ["distill"], "backbones": backbones}
    made = run(suite(files, "labels", **mixed), tmp_path)
    row = next(row for row in made.rows if row["kind"] == "fuse")
    out = finefuse.export(tmp_path / "out", row["cell"], tmp_path / f"m.{ending}", store=tmp_path / "store")
    assert "made again: within 0" in out.card.read_text()


def test_a_val_figure_of_a_method_that_saw_val_says_so(files: Path, tmp_path: Path) -> None:
    pool = {"pools": {"pair": {"of": ["full"], "copies": 2}}, "fusions": ["stacking", "soup"]}
    run(suite(files, "labels", **pool), tmp_path)
    said = {}
    for label in ("stacking", "soup", "full"):
        made = finefuse.export(tmp_path / "out", label, tmp_path / f"{label}.pt2", store=tmp_path / "store")
        said[label] = "on val, which it was fitted or chosen on" in made.card.read_text()
    assert said == {"stacking": True, "soup": False, "full": False}


def maker(kind: str = "tune", selection: str = "last", makers: dict[str, Any] | None = None, **job: Any) -> Any:
    """Just enough of a workbench to ask what was made with val."""
    usual: dict[str, Any] = {"kind": kind, "needs": (), "trials": (), "start": "", "fused": ()}
    made = makers or {}
    order = SimpleNamespace(job=SimpleNamespace(**usual | job), settings=SimpleNamespace(selection=selection))
    return SimpleNamespace(order=order, maker=made.__getitem__, store=SimpleNamespace(has=made.__contains__))


def test_val_stays_used_in_whatever_is_made_of_what_used_it() -> None:
    plain, searched, stacked = maker(), maker(trials=("t",)), maker("fuse", needs=("val",))
    assert not _val_used(plain)
    assert _val_used(searched)
    assert _val_used(stacked)
    assert _val_used(maker(selection="best-val"))
    made = {"plain": plain, "searched": searched, "stacked": stacked}
    again = maker(makers=made, start="stacked")
    soup = maker("fuse", makers=made, fused=(("a", "plain"), ("b", "searched")))
    assert _val_used(again)
    assert _val_used(soup)
    assert not _val_used(maker("fuse", makers=made, fused=(("a", "plain"), ("b", "gone"))))
    assert _val_used(maker("fuse", makers={"again": again}, fused=(("a", "again"),)))
