"""`finefuse show RUN ROW`: how a row is found, and what is told of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import finefuse
from finefuse.cli import main
from finefuse.errors import FinefuseError
from finefuse.judge.cells import find_rows
from finefuse.judge.page import page
from finefuse.judge.shown import Shown, show
from finefuse.predictions import Predictions
from finefuse.records import Results, read_results
from finefuse.types import Cell, Record
from helpers.answers import answers, of
from helpers.runs import FIXTURES

TOYS = str(FIXTURES / "toys.py")
SUITE = {
    "name": "shown",
    "seeds": [0, 1],
    "budget": {"epochs": 1},
    "datasets": ["blobs"],
    "backbones": ["mlp"],
    "metrics": ["hits"],
    "schemes": ["plain", "clumsy"],
    "fusions": ["middle"],
    "pools": {"pair": {"of": ["plain"], "copies": 2}},
    "latency": [1],
}


def run(out: Path, store: Path, **options: Any) -> list[Record]:
    how = {"plugins": TOYS, "workers": 0, "quiet": True, "reporters": (), "device": "cpu"}
    return list(finefuse.run(SUITE, out=out, store=store, **how | options).rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shown") / "store"


@pytest.fixture(scope="module")
def left(store: Path) -> Path:
    """What a run has left."""
    folder = store.parent / "out"
    run(folder, store)
    return folder


def shown(folder: Path, wanted: str, **narrow: Any) -> Shown:
    return show(folder, wanted, narrow)


# ------------------------------------------------------------------------------------------------- how it is found


@pytest.fixture
def rows(build: ModuleType) -> list[Record]:
    found = [build.row(label="full", seed=s, key=f"{s}a1b2c3d4e5f60718", backbone=b) for s in (1, 0) for b in "xy"]
    found += [build.row(label="full", seed=0, member=1, backbone="x"), build.row("time", "full", backbone="x")]
    return [*found, *(build.row("fuse", "soup", pool=p, backbone="x") for p in ("p", "q"))]


def found(rows: list[Record], wanted: str, **narrow: Any) -> list[str]:
    return [row["cell"] for row in find_rows(Results("demo", rows, [], []), wanted, narrow)]


@pytest.mark.parametrize(
    ("wanted", "narrow", "cells"),
    [
        ("full on x", {}, ["tune/digits/x/full//s0/m0/r0", "tune/digits/x/full//s1/m0/r0"]),
        ("full", {"backbone": "y"}, ["tune/digits/y/full//s0/m0/r0", "tune/digits/y/full//s1/m0/r0"]),
        ("full", {"backbone": "y", "seed": 1}, ["tune/digits/y/full//s1/m0/r0"]),
        ("soup of q", {}, ["fuse/digits/x/soup/q/s0/m0/r0"]),
        ("soup of q on x", {}, ["fuse/digits/x/soup/q/s0/m0/r0"]),
        ("soup", {"pool": "p"}, ["fuse/digits/x/soup/p/s0/m0/r0"]),
        ("tune/digits/x/full//s0/m1/r0", {}, ["tune/digits/x/full//s0/m1/r0"]),
        ("time/digits/x/full//s0/m0/r0", {}, ["time/digits/x/full//s0/m0/r0"]),
        ("0a1b2c", {"backbone": "x"}, ["tune/digits/x/full//s0/m0/r0"]),
    ],
)
def test_ways_to_name_a_row(rows: list[Record], wanted: str, narrow: dict[str, Any], cells: list[str]) -> None:
    assert found(rows, wanted, **narrow) == cells


@pytest.mark.parametrize(
    ("wanted", "narrow", "told"),
    [
        ("ful", {}, "no line, cell or key is called 'ful'; did you mean 'full'?"),
        ("zzz", {}, "no line, cell or key is called 'zzz'; there are 'full', 'soup', 'soup of p', 'soup of q'"),
        ("0a1b2", {}, "no line, cell or key is called '0a1b2'"),
        ("full", {}, "'full' means 2 lines; narrow it by --backbone: "),
        ("soup", {}, "'soup' means 2 lines; narrow it by --pool: "),
        ("0a1b2c", {}, "'0a1b2c' means 2 lines; narrow it by --backbone: "),
        ("full", {"backbone": "xx"}, "no row of 'full' has the backbone 'xx'"),
        ("soup", {"seed": 7}, "no row of 'soup' has the seed 7; there are '0'"),
    ],
)
def test_what_is_not_found(rows: list[Record], wanted: str, narrow: dict[str, Any], told: str) -> None:
    with pytest.raises(FinefuseError) as error:
        found(rows, wanted, **narrow)
    assert str(error.value).startswith(told)


def test_planned_cells_without_a_row(rows: list[Record]) -> None:
    missing = Cell("tune", "digits", "x", "late", "", 0, 0, 0, 0)
    for wanted in ("late", str(missing)):
        with pytest.raises(FinefuseError, match="is planned and has no row yet"):
            find_rows(Results("demo", rows, [missing], []), wanted, {})


# ------------------------------------------------------------------------------------------------- what is told


def test_a_line_with_all_its_seeds(left: Path) -> None:
    line = shown(left, "middle")
    text = page(line)
    rows = [row for row in read_results(left).rows if row["kind"] == "fuse"]
    assert [row["seed"] for row in line.rows] == [0, 1]
    assert text.startswith("# middle of pair · blobs · mlp\n")
    for row in rows:
        assert re.search(rf"^{row['seed']} +ok +{row['test.hits']:.6g} .* {row['key']}$", text, re.MULTILINE)
    (classes,) = line.classes
    assert classes.names == ("0", "1", "2")
    assert classes.classes["examples"].sum() == 120
    right = sum(row["test.hits"] * 60 for row in rows)
    assert int(classes.matrix().trace()) == round(right)
    assert "2 seeds together" in text
    assert re.search(r"^latency\.1\.p50 +\d", text, re.MULTILINE)


def test_what_a_fusion_is_made_of(left: Path) -> None:
    parts = {part.role: part.row for part in shown(left, "middle", seed=1).parts}
    members = {role: row["cell"] for role, row in parts.items() if row and role.startswith("member ")}
    assert members == {f"member plain#{m}": f"tune/blobs/mlp/plain//s1/m{m}/r0" for m in (0, 1)}
    assert parts["pretrained backbone"] is not None
    assert "member plain#1" in page(shown(left, "middle", seed=1))


def test_a_failed_line_shows_its_traceback(left: Path) -> None:
    text = page(shown(left, "clumsy", seed=0))
    assert "## Not ok: failed, seed 0\n\nValueError: dropped the network" in text
    assert "in tune\n    raise ValueError" in text
    assert "Not known: no run is ok." in text
    row = shown(left, "clumsy", seed=0).rows[0]
    (left / row["traceback"]).rename(left / "aside")
    try:
        assert "is not there)" in page(shown(left, "clumsy", seed=0))
    finally:
        (left / "aside").rename(left / row["traceback"])


def test_as_json_it_is_strict_and_has_the_whole_rows(left: Path) -> None:
    told = json.loads(json.dumps(shown(left, "plain").to_json(), allow_nan=False))
    rows = [row for row in read_results(left).rows if row["kind"] == "tune" and row["label"] == "plain"]
    assert told["rows"] == [row for row in rows if not row["member"]]
    assert [one["class"] for one in told["classes"][0]["classes"]] == ["0", "1", "2"]
    assert {one["role"] for one in told["made_of"]} == {"pretrained backbone"}
    infinite = Shown([{"a": float("inf"), "b": [float("nan")]}], [], [])
    assert infinite.to_json()["rows"] == [{"a": None, "b": [None]}]


def test_the_command_repeats_the_row(left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite from Python has none, so it is one of a file here; what it gives is the same row."""
    monkeypatch.chdir(tmp_path)
    suite = 'name = "mine"\nbudget = {epochs = 1}\ndatasets = ["blobs"]\nbackbones = ["mlp"]\nmetrics = ["hits"]\n'
    (tmp_path / "my suite.toml").write_text(suite + 'schemes = ["plain", {use = "plain", as = "a*b", lr = 0.5}]\n')
    doors = {"plugins": TOYS, "workers": 0, "quiet": True, "device": "cpu", "reporters": ()}
    finefuse.run("my suite.toml", out="out", store="store", **doors)
    before = shown(Path("out"), "a*b").rows[0]
    again, exports = shown(Path("out"), "a*b").again
    words = shlex.split(again)
    assert words[:3] == ["finefuse", "run", "my suite.toml"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {
        "--only": "a[*]b",
        "--device": "cpu",
        "--plugin": TOYS,
        "--out": "again",
        "--store": "again/store",
    }
    finefuse.run(words[2], only=options["--only"], out="again", store="again/store", **doors)
    rows = read_results(Path("again")).rows
    after = next(row for row in rows if row["label"] == "a*b")
    assert [(row["label"]) for row in rows if row["kind"] == "tune"] == ["a*b"]
    assert (after["key"], after["outputs"], after["predicted"]) == tuple(
        before[name] for name in ("key", "outputs", "predicted")
    )
    assert shlex.split(exports)[:4] == ["finefuse", "export", "out", before["cell"]]
    assert not any(command.startswith("finefuse run") for command in shown(left, "plain").again)


def test_hostile_names_are_shown_and_do_nothing(build: ModuleType, tmp_path: Path) -> None:
    row = build.row(label="\x1b[2Jfull", params={"a\nb": "\x1b]0;x\x07"}, key="../../etc/passwd", status="failed")
    build.write(tmp_path, [row | {"traceback": "../../../etc/passwd"}])
    text = page(shown(tmp_path, "\x1b[2Jfull"))
    assert "\x1b" not in text
    assert str(tmp_path / "tracebacks" / "passwd.txt") in text


def test_many_classes_show_the_hardest_and_the_most_frequent_confusions(build: ModuleType, tmp_path: Path) -> None:
    row, made = of(build, answers(50, 2000))
    build.write(tmp_path, [row])
    Predictions(tmp_path).keep(row, made, set())
    text = page(shown(tmp_path, "full"))
    assert "the 15 of 50 classes with the lowest recall" in text
    table = text.split("The most frequent confusions:")[1].split("\n## ")[0].strip().splitlines()
    counts = [int(line.split()[-1]) for line in table[1:]]
    assert len(counts) == 15
    assert counts == sorted(counts, reverse=True)


def test_seeds_without_predicted_classes_are_not_counted(build: ModuleType, tmp_path: Path) -> None:
    row, made = of(build, answers(3, 20))
    build.write(tmp_path, [row, *(build.row(label=row["label"], seed=seed) for seed in (1, 2))])
    Predictions(tmp_path).keep(row, made, set())
    assert "1 of 3 seeds together" in page(shown(tmp_path, "full"))


# ------------------------------------------------------------------------------------------------- where they are kept


def test_records_hold_no_predictions_and_every_scored_row_has_some(left: Path) -> None:
    rows = [json.loads(line) for line in (left / "records.jsonl").read_text().splitlines()]
    assert not any("predictions" in row for row in rows)
    having = {row["key"] for row in rows if row.get("predicted")}
    assert having == {row["key"] for row in rows if row["kind"] in ("tune", "fuse") and row["status"] == "ok"}
    assert having <= Predictions(left).known()


def test_a_lost_file_is_written_again_from_the_store(left: Path, store: Path, tmp_path: Path) -> None:
    file = left / "predictions.jsonl"
    before, rows = file.read_text(), (left / "records.jsonl").read_bytes()
    file.unlink()
    assert "`finefuse run` writes them again if the store has them" in page(shown(left, "plain"))
    run(left, store)
    assert sorted(file.read_text().splitlines()) == sorted(before.splitlines())
    assert (left / "records.jsonl").read_bytes() == rows
    elsewhere = tmp_path / "another"
    run(elsewhere, store)
    assert sorted((elsewhere / "predictions.jsonl").read_text().splitlines()) == sorted(before.splitlines())


def test_a_run_without_the_file_and_its_store_still_reports(left: Path, tmp_path: Path) -> None:
    shutil.copytree(left, tmp_path / "copy")
    (tmp_path / "copy" / "predictions.jsonl").unlink()
    run(tmp_path / "copy", tmp_path / "empty store")
    assert finefuse.report(tmp_path / "copy", reporters="markdown").complaints == ()
    assert not (tmp_path / "copy" / "predictions.jsonl").exists()


# ------------------------------------------------------------------------------------------------- the command line


def test_from_the_command_line(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cli(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["show", *arguments, "--plugin", TOYS])
        return ended.value.code, *capsys.readouterr()

    assert cli(str(left), "plain", "--seed", "1") == (0, page(shown(left, "plain", seed=1)) + "\n", "")
    assert json.loads(cli(str(left), "plain", "--json")[1]) == shown(left, "plain").to_json()
    wrong = "error: no line, cell or key is called 'plian'; did you mean 'plain'?\n"
    assert cli(str(left), "plian") == (2, "", wrong)
    assert cli(str(left))[2].startswith(f"error: {left} is a results folder: which row?")
    assert cli("plain", "--json") == (2, "", "error: these options are for a row: finefuse show RUN ROW\n")
    assert cli("nowhere", "plain")[0] == 2
