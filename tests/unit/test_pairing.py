"""Two lines of a board against each other."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest

from finefuse.errors import FinefuseError
from finefuse.judge.pairing import Pairing, pair
from finefuse.judge.statistics import mcnemar_exact, mean_interval
from finefuse.types import Record
from helpers.boards import runs


def answers(
    build: ModuleType, label: str, share: float, seeds: int = 3, kind: str = "tune", **fields: object
) -> list[Record]:
    """Rows whose answers are right with a chance, from one to the next seed on the same examples."""
    rows = []
    for seed in range(seeds):
        right = np.random.default_rng(seed).random(200) < share
        rows.append(build.row(kind, label, seed=seed, **{**build.scores(list(right)), **fields}))
    return rows


def texts(error: pytest.ExceptionInfo[FinefuseError]) -> str:
    return str(error.value)


def test_lines_are_paired_by_data_set_and_seed(build: ModuleType) -> None:
    a, b = answers(build, "a", 0.9), answers(build, "b", 0.7)
    found = pair([*a, *b[1:], build.row(label="c")], "a", "b")
    (table,) = found.tables.to_dict("records")
    differences = [x["test.accuracy"] - y["test.accuracy"] for x, y in zip(a[1:], b[1:], strict=True)]
    assert (table["seeds"], table["verdict"]) == (2, "a is better")
    assert table["difference"] == pytest.approx(np.mean(differences))
    assert 0 < table["half"] < table["difference"]
    assert list(found.seeds["seed"]) == [1, 2]
    lost = round(differences[0] * 200)
    assert found.seeds["p"][0] == pytest.approx(mcnemar_exact(0, lost))
    assert found.seeds["from b to a"][0] == f"0 of 200 examples lost, {lost} won"
    turned = pair([*a, *b[1:]], "b", "a").tables
    assert (turned["difference"][0], turned["verdict"][0]) == (-table["difference"], "b is better")


def test_the_same_answers_can_not_be_told_apart(build: ModuleType) -> None:
    (table,) = pair(answers(build, "a", 0.9) + answers(build, "b", 0.9), "a", "b").tables.to_dict("records")
    assert (table["difference"], table["half"], table["verdict"]) == (0.0, math.inf, "can't tell")


def test_lower_may_be_better(build: ModuleType) -> None:
    rows = [
        build.row(label=label, seed=seed, correct=None, **{"metrics": ["nll"], "test.nll": level + seed / 100 + noise})
        for label, level in (("low", 0.1), ("high", 0.9))
        for seed, noise in enumerate((0.01, 0.0, -0.01))
    ]
    assert list(pair(rows, "low", "high").tables["verdict"]) == ["a is better"]


def test_other_test_examples_are_not_paired(build: ModuleType) -> None:
    found = pair(answers(build, "a", 0.9) + answers(build, "b", 0.7, examples="others"), "a", "b")
    assert set(found.seeds["from b to a"]) == {"other test examples"}
    assert found.seeds["p"].isna().all()
    assert found.tables["half"][0] == mean_interval(list(found.seeds["difference"]))[1]


def test_a_data_set_is_one_observation(build: ModuleType) -> None:
    rows = []
    for dataset, gap in (("x", 0.1), ("y", 0.3)):
        for net in ("p", "q"):
            rows += runs(build, "a", [0.5 + gap, 0.5 + gap], dataset=dataset, backbone=net)
            rows += runs(build, "b", [0.5, 0.5], dataset=dataset, backbone=net)
    found = pair(rows, "a", "b")
    assert len(found.tables) == 4
    assert found.overall == pytest.approx(mean_interval([0.1, 0.3]))
    assert "Over 2 data sets, each as one observation: a - b +0.2000" in found.to_markdown()


def test_metrics_that_differ_are_not_averaged(build: ModuleType) -> None:
    rmse = {"metrics": ["rmse"], "better.rmse": "lower", "test.rmse": 1.0, "dataset": "wine", "correct": None}
    rows = [r for label in "ab" for r in [*answers(build, label, 0.8), build.row(label=label, **rmse)]]
    found = pair(rows, "a", "b")
    assert math.isnan(found.overall[0])
    assert "each as one observation" not in found.to_markdown()


def test_two_backbones_can_be_paired(build: ModuleType) -> None:
    rows = answers(build, "full", 0.9) + answers(build, "full", 0.7, backbone="vit-t")
    (table,) = pair(rows, "full on cnn-s", "full on vit-t").tables.to_dict("records")
    assert (table["backbone"], table["verdict"]) == ("cnn-s / vit-t", "a is better")


def test_lines_of_pools_are_named_with_them(build: ModuleType) -> None:
    rows = answers(build, "full", 0.9)
    rows += [row for pool in "pq" for row in answers(build, "soup", 0.8, kind="fuse", pool=pool)]
    assert len(pair(rows, "full", "soup of q").tables) == 1
    with pytest.raises(FinefuseError) as error:
        pair(rows, "full", "soup")
    assert texts(error) == "'soup' means several lines: say 'soup of p' or 'soup of q'."


def test_a_scheme_is_meant_by_its_own_name(build: ModuleType) -> None:
    rows = answers(build, "swa", 0.9) + answers(build, "swa", 0.7, kind="fuse", pool="p")
    assert list(pair(rows, "swa", "swa of p").tables["verdict"]) == ["a is better"]


@pytest.mark.parametrize("b", ["full", "full on cnn-s", "full on vit-t"])
def test_a_line_is_not_paired_with_itself_whatever_it_is_called(build: ModuleType, b: str) -> None:
    rows = answers(build, "full", 0.9) + answers(build, "full", 0.7, backbone="vit-t")
    with pytest.raises(FinefuseError) as error:
        pair(rows, "full", b)
    net = "vit-t" if b.endswith("vit-t") else "cnn-s"
    assert texts(error) == f"'full' and {b!r} are the same line on digits and {net}."


def test_an_unknown_line_is_told_in_one_sentence(build: ModuleType) -> None:
    with pytest.raises(FinefuseError) as error:
        pair(answers(build, "stacking", 0.9), "staking", "stacking")
    assert texts(error) == "no line with a score is called 'staking'; did you mean 'stacking'?"


def test_lines_without_a_seed_in_common_are_told(build: ModuleType) -> None:
    rows = [build.row(label="a", seed=0), build.row(label="b", seed=1)]
    with pytest.raises(FinefuseError, match=r"^'a' and 'b' have no scored seed of a data set in common\.$"):
        pair(rows, "a", "b")


def test_names_break_no_table(build: ModuleType) -> None:
    found: Pairing = pair(answers(build, "a|\nb", 0.9) + answers(build, "\x1b[31m", 0.7), "a|\nb", "\x1b[31m")
    assert found.to_markdown().startswith("# a: a| b, b: \\x1b[31m\n")
