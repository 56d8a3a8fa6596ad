"""Predicted classes on the page: as many lines as there is room for, and the scores by class of finefuse.judge."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from finefuse import api
from finefuse.errors import StoreError
from finefuse.judge.board.page import classes as page
from finefuse.judge.classes import balanced, class_scores, scores_by_task
from finefuse.predictions import Answers, Predictions
from finefuse.types import Record
from helpers.answers import answers, of
from helpers.scripts import Script

Rows = list[list[Record]]


@pytest.fixture(scope="module")
def script() -> Script:
    return Script("classes")


def told(*seeds: Answers) -> dict[str, Any]:
    """What the document has of one task of a line."""
    rows: Rows = [[{"key": str(i), "predicted": "yes"} for i in range(len(seeds))]]
    found = page.classes(rows, [[0]], lambda _: {str(i): (one,) for i, one in enumerate(seeds)})
    (entry,) = json.loads(json.dumps(found))["lines"]["0"]
    return dict(entry)


def lines(*counts: int, classes: int = 3) -> tuple[Rows, dict[str, tuple[Answers, ...]]]:
    """So many seeds of each line, and their answers."""
    rows: Rows = [[{"key": f"{at} {seed}", "predicted": "yes"} for seed in range(n)] for at, n in enumerate(counts)]
    found = {row["key"]: (answers(classes, 40, int(row["key"][-1])),) for line in rows for row in line}
    return rows, found


@pytest.mark.parametrize(("names", "n", "seeds"), [(2, 30, 1), (5, 40, 3), (40, 60, 2)])
def test_scores_by_class_are_those_of_python(script: Script, names: int, n: int, seeds: int) -> None:
    """With 60 examples of 40 classes, some have none or are never predicted."""
    given = [answers(names, n, seed) for seed in range(seeds)]
    expected, entry = class_scores(given), told(*given)
    found = script("scoresByClass(entry)", entry=entry)
    for name in ("examples", "predicted", "right", "recall", "low", "high", "precision", "f1"):
        ours = [math.nan if row[name] is None else row[name] for row in found]
        assert ours == pytest.approx(expected.classes[name].tolist(), nan_ok=True), name
    mean = script("means(scoresByClass(entry))", entry=entry)
    assert (mean["recall"], mean["f1"]) == pytest.approx(balanced(expected))


def test_the_confusions_of_few_classes_are_whole(script: Script) -> None:
    given = [answers(6, 200, seed) for seed in range(2)]
    entry = told(*given)
    assert entry["whole"]
    assert script("counts(entry)", entry=entry) == class_scores(given).matrix().tolist()


def test_of_many_classes_the_most_frequent_confusions_are_there() -> None:
    given = answers(page.WHOLE + 1, 4000)
    entry, scores = told(given), class_scores([given])
    assert (entry["whole"], len(entry["taken"])) == (False, page.MOST)
    wrong = scores.taken[scores.taken["true number"] != scores.taken["predicted number"]]
    assert [count for *_, count in entry["taken"]] == wrong["count"].head(page.MOST).tolist()


def test_the_best_lines_of_every_table_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, known = lines(1, 1, 1, 1, 1)
    one = len(json.dumps(page.classes(rows[:1], [[0]], lambda _: known)["lines"][0]))
    monkeypatch.setattr(page, "ROOM", 3 * one + 100)
    found = page.classes(rows, [[0, 1], [2, 3, 4]], lambda _: known)
    assert (list(found["lines"]), found["left_out"], len(found["names"])) == ([0, 2, 1], 2, 1)


def test_no_more_examples_are_looked_at_than_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, known = lines(2, 2, 2)
    for row in (row for line in rows for row in line):
        row["n_test"] = 40
    asked: list[int] = []

    def read(wanted: Sequence[Record]) -> dict[str, tuple[Answers, ...]]:
        asked.append(len(wanted))
        return {row["key"]: known[row["key"]] for row in wanted}

    monkeypatch.setattr(page, "EXAMPLES", 160)
    found = page.classes(rows, [[0, 1, 2]], read)
    assert (asked, list(found["lines"]), found["left_out"]) == ([4], [0, 1], 1)


def test_lines_without_predictions_are_not_called_left_out() -> None:
    rows, known = lines(1, 1, 1)
    del rows[1][0]["predicted"], known["2 0"]
    found = page.classes(rows, [[0, 1, 2]], lambda _: known)
    assert (list(found["lines"]), found["left_out"], found["trouble"]) == ([0], 0, "")


def test_names_that_take_all_the_room_leave_their_line_out() -> None:
    rows = lines(1)[0]
    one = Answers("", tuple(f"{i} {'long' * 3000}" for i in range(30)), np.arange(30), np.arange(30))
    found = page.classes(rows, [[0]], lambda _: {"0 0": (one,)})
    assert (found["lines"], found["names"], found["left_out"]) == ({}, [], 1)


def test_damaged_predictions_cost_no_page(build: ModuleType, tmp_path: Path) -> None:
    row, made = of(build, answers())
    build.write(tmp_path, [row])
    Predictions(tmp_path).keep(row, made, set())
    assert list(api.board(tmp_path).document()["classes"]["lines"]) == [0]
    file = tmp_path / "predictions.jsonl"
    file.write_text(file.read_text().replace('"task":""', '"task":"x"'))
    found = api.board(tmp_path).document()["classes"]
    assert (found["lines"], found["left_out"]) == ({}, 0)
    with pytest.raises(StoreError) as error:
        Predictions(tmp_path).read([row])
    assert found["trouble"] == str(error.value)


def test_tasks_are_apart() -> None:
    found = scores_by_task([(answers(3, 40, 0, "a"), answers(5, 30, 1, "b")), (answers(3, 40, 2, "a"),)])
    assert [(one.task, one.seeds, len(one.names)) for one in found] == [("a", 2, 3), ("b", 1, 5)]
