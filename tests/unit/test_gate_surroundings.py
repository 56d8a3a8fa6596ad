"""What else differs between two folders: settings, versions, machines, parameters, schemas, and the suite's gate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finefuse.judge.compare import compare
from finefuse.types import Record
from helpers.gates import Pair, cells_of, scaled


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("old", "new", "said", "excuse"),
    [
        ({"threads": 1}, {"threads": 4}, "Settings differ: threads was 1 and is 4 (6 rows).", "settings"),
        ({"precision": "fp32"}, {"precision": "bf16"}, "Settings differ: precision was fp32 and is bf16", "settings"),
        (
            {"parts": {"budget: epochs": "3"}},
            {"parts": {"budget: epochs": "30"}},
            "Settings differ: budget: epochs was 3 and is 30 (6 rows).",
            "settings",
        ),
        ({"parts": {"torch": "2.6"}}, {"parts": {"torch": "2.7"}}, "Versions differ: torch was 2.6 and is", "versions"),
        ({"parts": {"core": "2"}}, {"parts": {"core": "3"}}, "Versions differ: core was 2 and is 3", "versions"),
    ],
)
def test_other_settings_and_versions_fail_unless_they_are_allowed(
    pair: Pair, rng: np.random.Generator, old: Record, new: Record, said: str, excuse: str
) -> None:
    rows = cells_of(pair, rng, 6, 1, 100)
    base, now = ([row | fields for row in rows] for fields in (old, new))
    found = pair.compare(base, now)
    assert found.failures[0].startswith(said)
    assert len(found.failures) == 1
    assert pair.compare(base, now, allow=[excuse]).passed


def test_other_machines_and_parameters_are_told(pair: Pair, rng: np.random.Generator) -> None:
    rows = cells_of(pair, rng, 2, 1, 100)
    found = pair.compare(rows, [row | {"machine": "m2", "params": {"lr": 0.1}} for row in rows])
    assert found.passed
    assert found.notes == (
        'Parameters differ: line 0 was {} and is {"lr": 0.1} (1 row); line 1 was {} and is {"lr": 0.1} (1 row).',
        "Other machines: machine was m1 and is m2 (2 rows).",
    )


def test_rows_of_another_schema_close_the_gate(pair: Pair, rng: np.random.Generator) -> None:
    rows = cells_of(pair, rng, 2, 1, 100)
    with pytest.raises(Exception, match="has 2 as `schema`, where schema 1 was expected"):
        pair.compare(rows, [row | {"schema": 2} for row in rows])


def test_the_gate_of_a_suite_is_what_its_results_are_judged_by(pair: Pair, rng: np.random.Generator) -> None:
    base = cells_of(pair, rng, 2, 3, 360)
    new = scaled([pair.changed(row, rng, 3) for row in base], flops=1.2)
    assert not pair.compare(base, new).passed
    plan = pair.folder / "new" / "plan.json"
    gate = {"margin": "1pp", "fail_on": {"flops": "50%"}}
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"run": {"gate": gate}}))
    found = compare(pair.folder / "base", pair.folder / "new")
    assert found.passed, found.failures
    assert found.notes == ("The table [gate] of the suite is not that of the baseline.",)
    assert not compare(pair.folder / "base", pair.folder / "new", fail_on={"flops": 0}).passed


def test_a_folder_that_is_compared_with_itself_is_told(pair: Pair, rng: np.random.Generator) -> None:
    rows = cells_of(pair, rng, 2, 1, 100)
    pair.compare(rows, rows)
    (pair.folder / "link").symlink_to(pair.folder / "base")
    for again in ("base", "link"):
        found = compare(pair.folder / "base", pair.folder / again)
        assert "Base and new are the same folder, so nothing was compared with anything else." in found.notes
    assert not compare(pair.folder / "base", pair.folder / "new").notes
