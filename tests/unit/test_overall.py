"""All backbones ranked together, by data set and over data sets."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from finefuse.errors import FinefuseError
from finefuse.judge.overall import Overall, overall
from finefuse.types import Record
from helpers.boards import runs

MEANS = {"a": (0.9, 0.8, 0.7), "b": (0.8, 0.85, 0.6), "c": (0.5, 0.5, 0.65)}


def several(build: ModuleType, means: dict[str, tuple[float, ...]] = MEANS, **fields: Any) -> list[Record]:
    """Three seeds of each label on data sets d0, d1 and so on; a and c on cnn-s, b on vit-t."""
    rng = np.random.default_rng(0)
    return [
        row
        for label, values in means.items()
        for d, mean in enumerate(values)
        for row in runs(
            build,
            label,
            [mean + float(z) for z in 0.005 * rng.standard_normal(3)],
            dataset=f"d{d}",
            backbone="vit-t" if label == "b" else "cnn-s",
            **fields,
        )
    ]


def ranks(found: Overall) -> dict[str, float]:
    return dict(zip(found.ranks["strategy"], found.ranks["rank"], strict=True))


def test_backbones_and_pools_share_one_table_per_data_set(build: ModuleType) -> None:
    rows = several(build) + runs(build, "soup", [0.99, 0.98, 0.985], "fuse", pool="p", dataset="d0")
    found = overall(rows)
    assert list(found.tables) == ["d0", "d1", "d2"]
    assert list(found.tables["d0"]["strategy"]) == ["soup", "a", "b", "c"]
    assert list(found.tables["d0"]["rank"]) == [1, 2, 3, 4]
    assert list(found.tables["d1"]["backbone"]) == ["vit-t", "cnn-s", "cnn-s"]
    assert found.resolutions["d1"].apart == 2
    text = found.to_markdown()
    assert "| 1      | cnn-s      | soup       | p" in text


def test_average_ranks_wins_and_scores(build: ModuleType) -> None:
    found = overall(several(build))
    assert ranks(found) == pytest.approx({"a": 4 / 3, "b": 2, "c": 8 / 3})
    assert list(found.ranks["strategy"]) == ["a", "b", "c"]
    assert found.wins.loc["a cnn-s", "b vit-t"] == pytest.approx(2 / 3)
    assert found.wins.loc["c cnn-s", "b vit-t"] == pytest.approx(1 / 3)
    assert math.isnan(found.wins.loc["a cnn-s", "a cnn-s"])
    assert found.ranks["wins"][0] == pytest.approx((2 / 3 + 1) / 2)
    assert list(found.ranks["score"]) == pytest.approx([2 / 3, 1 / 3, 0])
    quantile = stats.studentized_range.ppf(0.95, 3, np.inf)
    assert found.critical == pytest.approx(quantile / math.sqrt(2) * math.sqrt(12 / 18), rel=1e-3)
    assert (found.ranks["low"] <= found.ranks["rank"]).all()
    assert (found.ranks["rank"] <= found.ranks["high"]).all()


def test_the_same_rows_give_the_same_intervals_in_any_order(build: ModuleType) -> None:
    rows = several(build)
    pd.testing.assert_frame_equal(overall(rows).ranks, overall(rows[::-1]).ranks)


def test_lower_may_be_better(build: ModuleType) -> None:
    rows = [row | {"metrics": ["m"], "better.m": "lower", "test.m": row["test.accuracy"]} for row in several(build)]
    assert list(overall(rows).ranks["strategy"]) == ["c", "b", "a"]


def test_equal_entrants_share_their_ranks(build: ModuleType) -> None:
    rows = [r for d in "xy" for label in "ab" for r in runs(build, label, [0.5, 0.6], dataset=d)]
    found = overall(rows)
    assert ranks(found) == {"a": 1.5, "b": 1.5}
    assert found.wins.loc["a cnn-s", "b cnn-s"] == 0.5
    assert list(found.ranks["score"]) == [1.0, 1.0]


def test_the_worst_of_many_equal_ones_scores_nothing(build: ModuleType) -> None:
    seeds = {"full": 0.9, "soup": 0.9, "lora": 0.9, "broken": 0.1}
    rows = [r for d in "xy" for label, mean in seeds.items() for r in runs(build, label, [mean] * 2, dataset=d)]
    found = overall(rows)
    assert dict(zip(found.ranks["strategy"], found.ranks["score"], strict=True)) == {
        "full": 1.0,
        "soup": 1.0,
        "lora": 1.0,
        "broken": 0.0,
    }


def test_the_same_scores_in_another_order_of_seeds_are_equal(build: ModuleType) -> None:
    orders = {"a": [349, 333, 324, 307, 310], "b": [349, 307, 324, 310, 333], "c": [310, 307, 333, 324, 349]}
    rows = [
        r
        for d in "xy"
        for label, right in orders.items()
        for r in runs(build, label, [n / 360 for n in right], dataset=d)
    ]
    assert ranks(overall(rows)) == {"a": 2.0, "b": 2.0, "c": 2.0}


def test_unequal_coverage_is_refused_unless_an_imputation_is_named(build: ModuleType) -> None:
    rows = [row for row in several(build) if (row["label"], row["dataset"]) != ("a", "d0")]
    found = overall(rows)
    assert len(found.ranks) == 0
    assert found.refused.startswith("1 of 9 scores are not there, such as that of a on cnn-s for d0.")
    assert "No ranks over data sets: 1 of 9" in found.to_markdown()
    imputed = overall(rows, "worst")
    assert ranks(imputed)["a"] == pytest.approx((2.5 + 2 + 1) / 3)
    assert dict(zip(imputed.ranks["strategy"], imputed.ranks["imputed"], strict=True)) == {"a": 1, "b": 0, "c": 0}
    assert "| a *" in imputed.to_markdown()
    worst, entrants = imputed.stand_ins["d0"]
    assert [entrant.strategy for entrant in entrants] == ["a"]
    assert worst == pytest.approx(imputed.tables["d0"]["mean"].min())
    told = f"Not there, and imputed over data sets: {worst:.4f} *, the worst score here, for a on cnn-s."
    assert told in imputed.to_markdown()
    lower = overall([row | {"better.accuracy": "lower"} for row in rows], "worst")
    assert lower.stand_ins["d0"][0] == pytest.approx(lower.tables["d0"]["mean"].max())
    assert "* marks entrants" in imputed.to_markdown()


def test_a_score_that_is_no_number_is_not_there(build: ModuleType) -> None:
    rows = several(build)
    rows[0]["test.accuracy"] = math.nan
    assert overall(rows).refused.startswith("1 of 9")
    rows[0]["test.accuracy"] = None
    assert overall(rows).refused.startswith("1 of 9")
    lost = [row | ({"test.accuracy": math.nan} if row["dataset"] == "d0" else {}) for row in several(build)]
    assert overall(lost, "worst").refused == "nothing has a score on d0."


def test_one_data_set_has_its_table_only(build: ModuleType) -> None:
    found = overall(runs(build, "a", [0.9, 0.8]) + runs(build, "b", [0.7, 0.6]))
    assert len(found.tables["digits"]) == 2
    assert (len(found.ranks), found.refused) == (0, "")
    assert "Over data sets" not in found.to_markdown()


def test_an_unknown_imputation_is_told(build: ModuleType) -> None:
    with pytest.raises(FinefuseError, match=r"^no imputation is called 'wors'; did you mean 'worst'\?$"):
        overall(several(build), "wors")
    with pytest.raises(FinefuseError, match=r"^no imputation is called 'mean'; there is: worst$"):
        overall(several(build), "mean")


def test_nothing_is_an_empty_answer() -> None:
    assert overall([]).to_markdown() == ""
