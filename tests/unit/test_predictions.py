"""Predicted classes beside the records: written once, checked when read, and no part of what they are beside."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from finefuse.errors import StoreError
from finefuse.judge.classes import balanced, class_scores, hardest
from finefuse.judge.statistics import share_interval
from finefuse.predictions import Answers, Predictions
from finefuse.types import Record
from helpers.answers import answers, of


def equal(one: Answers, other: Answers) -> bool:
    same = np.array_equal(one.true, other.true) and np.array_equal(one.predicted, other.predicted)
    return same and (one.task, one.names) == (other.task, other.names)


@pytest.mark.parametrize("classes", [2, 256, 257, 70_000])
def test_what_is_kept_is_read_back(build: ModuleType, tmp_path: Path, classes: int) -> None:
    one = answers(classes, 500)
    row, made = of(build, one)
    kept = Predictions(tmp_path)
    kept.keep(row, made, kept.known())
    (found,) = kept.read([row])["ab12"]
    assert equal(found, one)


def test_labels_are_written_once_and_rows_too(build: ModuleType, tmp_path: Path) -> None:
    kept, known = Predictions(tmp_path), set[str]()
    one, other = answers(), answers()
    other = Answers("", other.names, other.true, other.true)
    for key, found in (("ab12", one), ("cd34", other), ("ab12", one)):
        kept.keep(*of(build, found, key=key), known)
    lines = [json.loads(line) for line in kept.file.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["labels", "key", "key"]
    assert known == kept.known() == {lines[0]["labels"], "ab12", "cd34"}
    again = Predictions(tmp_path)
    again.keep(*of(build, one), again.known())
    assert len(kept.file.read_text().splitlines()) == 3


def test_several_tasks(build: ModuleType, tmp_path: Path) -> None:
    found = [answers(3, 40, 0, "a"), answers(5, 30, 1, "b")]
    row, made = of(build, *found)
    kept = Predictions(tmp_path)
    kept.keep(row, made, set())
    assert all(map(equal, kept.read([row])["ab12"], found))


def test_a_torn_line_is_none_and_is_cut_off(build: ModuleType, tmp_path: Path) -> None:
    row, made = of(build, answers())
    kept = Predictions(tmp_path)
    kept.keep(row, made, set())
    whole = kept.file.read_bytes()
    kept.file.write_bytes(whole[:-20])
    assert kept.known() == {made["labels"][0]["labels"]}
    assert kept.read([row]) == {}
    kept.keep(row, made, kept.known())
    assert kept.file.read_bytes() == whole


def replaced(name: str, change: Any) -> Any:
    """Changes one field of the line of the row."""

    def damage(lines: list[Record]) -> None:
        task = lines[1]["tasks"][0]
        task[name] = change(task[name])

    return damage


def swapped(text: str) -> str:
    """Other classes, as well packed as the true ones."""
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return base64.b64encode(zlib.compress((numbers[::-1]).tobytes(), 9)).decode()


def relabelled(lines: list[Record]) -> None:
    lines[0]["names"] = ["x", "y", "z"]


def nameless(lines: list[Record]) -> None:
    lines[0]["names"] = ["x"]


@pytest.mark.parametrize(
    "damage",
    [
        replaced("predicted", swapped),
        replaced("predicted", lambda text: text[:-4]),
        replaced("predicted", lambda text: "no base64!"),
        replaced("predicted", lambda text: 7),
        replaced("labels", lambda text: "0" * 32),
        replaced("task", lambda text: "another"),
        lambda lines: lines[1].update(tasks=[]),
        lambda lines: lines[1].update(tasks=None),
        lambda lines: lines[0].update(true=swapped(lines[0]["true"])),
        relabelled,
        nameless,
    ],
)
def test_what_is_not_what_the_row_says_is_refused(build: ModuleType, tmp_path: Path, damage: Any) -> None:
    row, made = of(build, answers())
    kept = Predictions(tmp_path)
    kept.keep(row, made, set())
    lines = [json.loads(line) for line in kept.file.read_text().splitlines()]
    damage(lines)
    kept.file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    with pytest.raises(StoreError, match=r"predictions.jsonl:2: these are not the predicted classes of tune/digits"):
        kept.read([row])


def test_a_row_whose_bits_say_otherwise_is_refused(build: ModuleType, tmp_path: Path) -> None:
    row, made = of(build, answers())
    kept = Predictions(tmp_path)
    kept.keep(row, made, set())
    with pytest.raises(StoreError, match="not the predicted classes"):
        kept.read([row | {"correct": build.bits([True] * 40)}])


def test_without_the_file_or_a_line_there_is_nothing(build: ModuleType, tmp_path: Path) -> None:
    row, _ = of(build, answers())
    assert Predictions(tmp_path).read([row]) == {}
    (tmp_path / "predictions.jsonl").write_text('{"key":"other","tasks":[]}\n\x00\xff\nnothing\n')
    assert Predictions(tmp_path).read([row]) == {}
    (tmp_path / "predictions.jsonl").unlink()
    (tmp_path / "predictions.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"predictions\.jsonl: can't be read"):
        Predictions(tmp_path).known()


# -------------------------------------------------------------------------------------------------- scores by class


def test_scores_by_class_are_counted_as_their_definitions_say() -> None:
    seeds = [answers(7, 300, seed) for seed in range(3)]
    found = class_scores(seeds)
    pairs = [(int(t), int(p)) for one in seeds for t, p in zip(one.true, one.predicted, strict=True)]
    for c, row in enumerate(found.classes.to_dict("records")):
        right, true = pairs.count((c, c)), sum(of == c for of, _ in pairs)
        told = sum(to == c for _, to in pairs)
        expected = (true, told, right, right / true, right / told, 2 * right / (true + told))
        names = ("examples", "predicted", "right", "recall", "precision", "f1")
        assert tuple(row[name] for name in names) == pytest.approx(expected)
    assert found.matrix().tolist() == [[pairs.count((t, p)) for p in range(7)] for t in range(7)]
    assert balanced(found) == pytest.approx((found.classes["recall"].mean(), found.classes["f1"].mean()))


def test_classes_that_do_not_occur_have_no_scores_and_don_t_count() -> None:
    one = Answers("", ("a", "b", "c", "d"), np.array([0, 0, 1]), np.array([0, 2, 1]))
    found = class_scores([one])
    recall, precision = found.classes["recall"], found.classes["precision"]
    assert recall.tolist()[:2] == [0.5, 1.0]
    assert recall.isna().tolist() == [False, False, True, True]
    assert precision.isna().tolist() == [False, False, False, True]
    assert balanced(found) == pytest.approx((0.75, (2 / 3 + 1) / 2))
    assert hardest(found, 9)["class"].tolist() == ["a", "b"]


def test_confusions_come_first_and_the_most_frequent_of_them() -> None:
    true, predicted = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), np.array([1, 1, 0, 0, 1, 2, 2, 2, 2])
    taken = class_scores([Answers("", ("a", "b", "c"), true, predicted)]).taken
    pairs = list(zip(taken["true"], taken["predicted"], taken["count"], strict=True))
    assert pairs == [("a", "b", 2), ("b", "a", 1), ("c", "c", 4), ("a", "a", 1), ("b", "b", 1)]


def test_seeds_do_not_narrow_the_interval_because_they_may_share_examples() -> None:
    one, three = class_scores([answers()]), class_scores([answers()] * 3)
    assert one.classes[["low", "high"]].to_numpy() == pytest.approx(three.classes[["low", "high"]].to_numpy())
    assert three.classes["examples"].tolist() == (3 * one.classes["examples"]).tolist()


def test_wilson_s_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for right, n in ((0, 5), (3, 7), (50, 50), (1, 1000)):
        expected = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert share_interval(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
