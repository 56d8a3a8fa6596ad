"""What a row may hold: all that contradicts itself, or is not what its field says, is refused in one sentence."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from finefuse import rows
from finefuse.records import Records
from finefuse.rows import wrong_with
from helpers.rows_on_disk import filled

DOCS = Path(__file__).parents[2] / "docs"
BASELINES = Path(__file__).parents[2] / "baselines"


@pytest.fixture
def row(build: ModuleType) -> dict[str, Any]:
    """90 of 100 right."""
    return build.row(shares=["accuracy"])


def test_rows_that_runs_wrote_are_good() -> None:
    for file in BASELINES.glob("*/records.jsonl"):
        rows, refused = Records(file.parent).read()
        assert refused == []
        assert any(row.get("shares") == ["accuracy"] for row in rows)


@pytest.mark.parametrize("kind", ["pretrain", "trial", "tune", "fuse", "pool", "time"])
@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "skipped", "blocked"])
def test_rows_that_are_not_ok_need_no_scores(build: ModuleType, kind: Any, status: str) -> None:
    assert wrong_with(build.row(kind, status=status)) == ""


@pytest.mark.parametrize("name", ["cell", "key", "kind", "dataset", "backbone", "label", "pool", "seed", "status"])
def test_a_row_that_lacks_what_every_row_has(row: dict[str, Any], name: str) -> None:
    del row[name]
    assert wrong_with(row) == f"is not a row of finefuse: it has no {name}"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        (
            {"status": "OK"},
            "has 'OK' as `status`, where one of ok, failed, timeout, oom, skipped, blocked was expected",
        ),
        ({"status": None}, "has None as `status`"),
        ({"kind": ["tune"]}, "has ['tune'] as `kind`, where one of pretrain, "),
        ({"schema": 2}, "has 2 as `schema`, where schema 1 was expected"),
        ({"cell": 3}, "has 3 as `cell`, where a text was expected"),
        ({"label": ["full"]}, "has ['full'] as `label`, where a text was expected"),
        ({"reason": {"a": 1}}, "has {'a': 1} as `reason`, where a text was expected"),
        ({"machine": 1}, "has 1 as `machine`, where a text or null was expected"),
        ({"seed": 0.5}, "has 0.5 as `seed`, where a whole number was expected"),
        ({"seed": True}, "has True as `seed`"),
        ({"member": -1}, "has -1 as `member`, where a whole number from 0 was expected"),
        ({"round": None}, "has None as `round`"),
        ({"metrics": "accuracy"}, "has 'accuracy' as `metrics`, where a list of texts was expected"),
        ({"metrics": ["accuracy", 1]}, "has ['accuracy', 1] as `metrics`"),
        ({"metrics": []}, "is ok and has no `metrics`"),
        ({"needs": None}, "has None as `needs`, where a list of texts was expected"),
        ({"at_edge": None}, "has None as `at_edge`"),
        ({"followed_by": ["x"]}, "has 1 entries in `followed_by` and 0 in `saw`"),
        ({"tasks": ["x"]}, "has 1 entries in `tasks` and 0 in `ranked_by`"),
        ({"given": {"a": 1}}, "has {'a': 1} as `given`, where an object of objects, or null was expected"),
        ({"metrics": None}, "is ok and has no `metrics`"),
        ({"metrics": ["f1"]}, "is ok and has no `test.f1`"),
        ({"better.nll": None}, "has None as `better.nll`, where higher or lower was expected"),
        ({"better.nll": "up"}, "has 'up' as `better.nll`"),
        ({"test.nll": "0.3"}, "has '0.3' as `test.nll`, where a number or null was expected"),
        ({"test.nll": 1e308}, "has 1e+308 as `test.nll`"),
        ({"test.nll": True}, "has True as `test.nll`"),
        ({"test.nll": [1]}, "has [1] as `test.nll`"),
        ({"figure.rank": "high"}, "has 'high' as `figure.rank`"),
        ({"seconds": -1.0}, "has -1.0 as `seconds`, where a number from 0, or null was expected"),
        ({"seconds": math.inf}, "has inf as `seconds`"),
        ({"seconds": math.nan}, "has nan as `seconds`"),
        ({"peak_memory": 10**400}, "has 1000000000000000000000000000000000000000... as `peak_memory`"),
        ({"contended": 1}, "has 1 as `contended`, where true, false or null was expected"),
        ({"params": []}, "has [] as `params`, where an object or null was expected"),
        ({"parts": {"seed": 1}}, "has {'seed': 1} as `parts`, where an object of texts was expected"),
        ({"latency.one.p50": 0.1}, "has 0.1 as `latency.one.p50`, where a name such as latency.64.p50 was expected"),
        ({"latency.1.p50": "fast"}, "has 'fast' as `latency.1.p50`"),
        ({"test.accuracy": 1.5}, "has 1.5 as `test.accuracy`, and its own bits say 0.9"),
        ({"test.accuracy": -3}, "has -3 as `test.accuracy`, and its own bits say 0.9"),
        ({"test.accuracy": 0.901}, "has 0.901 as `test.accuracy`, and its own bits say 0.9"),
        ({"test.accuracy": math.nan}, "has nan as `test.accuracy`, and its own bits say 0.9"),
        ({"n_test": 101}, "has 0.9 as `test.accuracy`, and its own bits say 0.891089"),
        ({"n_test": 89}, "has 13 bytes in `correct`, which are not the bits of 89 examples"),
        ({"n_test": 10}, "has 13 bytes in `correct`, which are not the bits of 10 examples"),
        ({"n_test": 0}, "has bits in `correct` and no `n_test`"),
        ({"correct": "AA"}, "has a `correct` that is not base64"),
        ({"correct": "é"}, "has a `correct` that is not base64"),
        ({"losses": "AAAA"}, "has `losses` that are not the base64 of 100 numbers"),
        ({"losses": "*"}, "has `losses` that are not the base64 of 100 numbers"),
        ({"shares": ["f1"]}, "has None as `test.f1`, and its own bits say 0.9"),
    ],
    ids=str,
)
def test_what_is_refused(row: dict[str, Any], fields: dict[str, Any], wrong: str) -> None:
    assert wrong_with(row) == ""
    assert wrong_with(row | fields).startswith(wrong)


def test_every_field_that_is_documented_is_checked() -> None:
    section = (DOCS / "records.md").read_text(encoding="utf-8").split("\n## A record\n")[1].split("\n## ")[0]
    firsts = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = [name for first in firsts for name in re.findall(r"`(.+?)`", first)]
    assert len(names) > 50
    anything = {name for name in names if rows._RULES[name.replace("<batch>", "1")] is rows.ANYTHING}
    assert anything == set()


def test_a_network_that_diverged_has_a_row(build: ModuleType) -> None:
    assert (
        wrong_with(build.row(**{"test.nll": math.nan, "val.nll": math.inf, "figure.rank": None, "flops": None})) == ""
    )


def test_any_value_in_any_field_is_good_or_a_sentence(row: dict[str, Any]) -> None:
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        10**30,
        0.5,
        -1e308,
        math.nan,
        math.inf,
        "",
        "x",
        [],
        [[]],
        ["x"],
        {},
        {"a": {}},
    ]
    for name in (*row, "also.x.y", "mean.test.nll", "anything"):
        for value in odd:
            changed = row | {name: value}
            said = rows._told(changed)
            assert isinstance(said, str)
            assert wrong_with(changed) == said


def test_rows_of_a_kind_that_was_sound_are_checked_all_the_same(build: ModuleType) -> None:
    """The second row has the fields and the types of the first, and so does each that follows."""
    full = {"losses": None, "aggregate": None, "tasks": [], "needs": ["val"], "params": {"a": 1}, "figure.x": 1.0}
    row = build.row(shares=["accuracy"], **full)
    assert wrong_with(row) == wrong_with(dict(row)) == ""
    for fields in (
        {"seconds": -1.0},
        {"seconds": math.nan},
        {"threads": 10**101},
        {"figure.x": -1e101},
        {"needs": [1]},
        {"tasks": ["x"]},
        {"kind": "other"},
        {"parts": {"seed": 1}},
        {"correct": "AA=="},
        {"metrics": ["f1"]},
        {"test.accuracy": 0.7},
    ):
        assert wrong_with(row | fields), fields
    assert wrong_with(row | {"figure.x": math.inf, "test.nll": math.nan}) == ""


def test_rows_of_many_kinds_are_not_all_remembered(row: dict[str, Any]) -> None:
    for i in range(rows.MANY + 10):
        assert wrong_with(row | {f"figure.{i}": 0.5}) == ""
    assert len(rows._SHAPES) <= rows.MANY


def test_the_sentence_names_file_line_and_cell(tmp_path: Path, row: dict[str, Any]) -> None:
    records = filled(tmp_path, 1)
    with records.file.open("a") as file:
        file.write(json.dumps(row | {"test.accuracy": 0.999}) + "\n")
    assert records.read()[1] == [
        f"{records.file}:2: tune/digits/cnn-s/full//s0/m0/r0 has 0.999 as `test.accuracy`, and its own bits say 0.9"
    ]


def written(folder: Path, *rows: dict[str, Any]) -> Records:
    records = Records(folder)
    for row in rows:
        records.append(row)
    return records


def former(build: ModuleType, right: int, score: float, seed: int, **more: Any) -> dict[str, Any]:
    """A row of a version that wrote no `shares`: so many of 100 right, and some other score that agrees by chance."""
    bits = base64.b64encode(np.packbits(np.arange(100) < right).tobytes()).decode()
    scores = {"test.accuracy": score, "test.f1": 0.5, "better.f1": "higher", "metrics": ["accuracy", "f1"]}
    return (
        {name: value for name, value in build.row(seed=seed).items() if name != "shares"}
        | scores
        | {
            "correct": bits,
            "n_test": 100,
            **more,
        }
    )


@pytest.mark.parametrize("score", [1.5, -3, 0.999, math.nan])
def test_rows_of_a_former_version_are_held_to_what_they_have_in_common(
    build: ModuleType, tmp_path: Path, score: float
) -> None:
    rows = [former(build, right, right / 100, seed) for seed, right in enumerate((50, 60, 70, 100))]
    rows += [former(build, 80, score, 9), former(build, 100, 0.5, 10), former(build, 0, math.nan, 11, status="failed")]
    records = written(tmp_path, *rows)
    kept, refused = records.read()
    assert [row["seed"] for row in kept] == [0, 1, 2, 3, 11]
    contradictions = [(score, 0.8), (0.5, 1)]
    said = [f"has {given} as `test.accuracy`, and its own bits say {share}" for given, share in contradictions]
    assert [sentence.split("r0 ")[1] for sentence in refused] == said
    assert [sentence.split(":")[1] for sentence in refused] == ["5", "6"]


@pytest.mark.parametrize("rights", [(50, 60), (0, 100, 100, 100), (50, 60, 70)])
def test_too_few_rows_of_a_former_version_prove_nothing(build: ModuleType, tmp_path: Path, rights: Any) -> None:
    rows = [former(build, right, right / 100, seed) for seed, right in enumerate(rights)]
    rows += [former(build, 80, 0.7, 10 + i) for i in range(len(rights))]  # as many contradict
    assert written(tmp_path, *rows).read()[1] == []


def test_what_rows_of_one_data_set_have_in_common_says_nothing_of_another(build: ModuleType, tmp_path: Path) -> None:
    rows = [former(build, right, right / 100, seed) for seed, right in enumerate((50, 60, 70, 80))]
    other = former(build, 80, 0.7, 9, dataset="another")
    assert written(tmp_path, *rows, other).read()[1] == []


def test_rows_that_say_what_their_bits_are_held_to_say_it_for_themselves(build: ModuleType, tmp_path: Path) -> None:
    rows = [former(build, right, right / 100, seed) for seed, right in enumerate((50, 60, 70))]
    assert written(tmp_path, *rows, former(build, 80, 0.7, 9, shares=[])).read()[1] == []
