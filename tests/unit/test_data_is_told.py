"""What rows and board say of the data: remarks, repeated examples, and data that changed after the plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import finefuse
from finefuse import Classification, Data, Entry, FinefuseError, Splits, Task, hookimpl
from finefuse.discovery import capabilities
from finefuse.engine.measure.repeats import repeated
from finefuse.engine.work import loading
from finefuse.judge.board.data_notes import data_notes

TASK = Classification(2, "image", (1, 4, 4))


def splits(dtype: torch.dtype = torch.float32) -> Splits:
    x = torch.arange(30 * 16).view(30, 1, 4, 4).remainder(251).to(dtype)
    y = torch.arange(30) % 2
    return Splits(TASK, *(Data(x[i::3].clone(), y[i::3].clone()) for i in range(3)))


# ------------------------------------------------------------------------------------------------------------ repeats


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_examples_that_are_learned_or_chosen_from_are_counted_in_the_test(dtype):
    some = splits(dtype)
    assert repeated(some) == 0
    some.test.x[2], some.test.x[3], some.test.x[4] = some.train.x[0], some.train.x[0], some.val.x[7]
    some.test.y[2] = 1 - some.train.y[0]
    assert repeated(some) == 3
    some.test.x[5] = some.test.x[6]
    some.test.x[3, 0, 0, 0] += 1
    assert repeated(some) == 2


def test_a_part_of_no_examples_repeats_nothing():
    some = splits()
    assert repeated(replace(some, val=Data(some.val.x[:0], some.val.y[:0]))) == 0


# ------------------------------------------------------------------------------------------- a whole run that is told


@dataclass(frozen=True)
class Told:
    """A data set with something to say, whose content can change."""

    task = TASK

    def fingerprint(self) -> str:
        STATE["asked"] += 1
        return f"{STATE['content']}"

    def remarks(self) -> list[str]:
        return ["told: 3 files are left out"]

    def splits(self, seed: int) -> Splits:
        STATE["content"] += STATE["change"]
        made = splits()
        made.test.x[0] = made.train.x[0]
        return made


STATE = {"content": 0, "change": 0, "asked": 0}


def door_of(**hooks: Any) -> ModuleType:
    module = ModuleType("telling")
    vars(module).update(hooks)
    return module


@pytest.fixture
def door() -> Any:
    STATE.update(content=0, change=0, asked=0)
    loading.loaded.cache_clear()

    @hookimpl
    def finefuse_datasets() -> Any:
        yield Entry("told", Told, "")

    return door_of(finefuse_datasets=finefuse_datasets)


def run(door: Any, tmp_path: Any, **changes: Any) -> finefuse.api.Run:
    suite = {
        "name": "t",
        "datasets": ["told"],
        "backbones": [{"use": "own"}],
        "schemes": ["linear-probe"],
        "budget": {"epochs": 1},
        **changes,
    }
    return finefuse.run(
        suite, plugins=["finefuse_zoo.hooks", door, OWN], out=tmp_path / "out", store=tmp_path / "store", quiet=True
    )


@dataclass(frozen=True)
class Own:
    """Random weights, and something to say."""

    source = None

    def fingerprint(self) -> str:
        return ""

    def remarks(self) -> tuple[str, ...]:
        return ("own: ema is taken",)

    def budget(self) -> Any:
        return finefuse.types.Budget()

    def tune(self, on: Any) -> None:
        raise AssertionError("it has no source")

    def build(self, task: Task) -> Any:
        from torch import nn

        from finefuse.nets import Net

        return Net(
            [nn.Sequential(nn.Flatten(), nn.Linear(16, 4))],
            nn.Linear(4, task.outputs),
            finefuse.types.Recipe("sgd", lr=0.1),
        )


@hookimpl
def _backbones() -> Any:
    yield Entry("own", Own, "")


OWN = door_of(finefuse_backbones=_backbones)


def test_rows_and_board_say_it_all(door, tmp_path):
    result = run(door, tmp_path, augment=["flip"])
    assert result.ok, [row["reason"] for row in result.bad]
    rows = {row["kind"]: row for row in result.rows}
    assert rows["tune"]["remarks"] == ["told: 3 files are left out"]
    assert rows["tune"]["repeated"] == 1
    assert rows["pretrain"]["remarks"] == ["own: ema is taken"]
    notes = result.board.notes
    assert "told: 3 files are left out." in notes
    assert "own: ema is taken." in notes
    assert any(note.startswith("told: 1 of 10 test examples have the same inputs as an example of") for note in notes)
    assert "Took no optimizer steps and therefore saw no images changed by flip: linear-probe." in notes
    plan = finefuse.plan(
        {"name": "t", "datasets": ["told"], "backbones": ["own"], "schemes": ["full"]},
        plugins=[door, OWN, "finefuse_zoo.hooks"],
    )
    assert plan.remarks == ("told: 3 files are left out",)


def test_without_changes_nothing_is_said_of_them(door, tmp_path):
    assert not [note for note in run(door, tmp_path).board.notes if "optimizer steps" in note]


def test_data_that_change_after_the_plan_fail_their_jobs_and_are_planned_anew(door, tmp_path):
    STATE["change"] = 1
    bad, *blocked = run(door, tmp_path).bad
    assert [row["status"] for row in (bad, *blocked)] == ["failed", "blocked", "blocked"]
    said = "the data set told has changed since the suite was planned; run again to make a new plan"
    assert bad["reason"].endswith(said)
    STATE["change"] = 0
    again = run(door, tmp_path)
    assert again.ok
    assert {row["key"] for row in again.rows}.isdisjoint(row["key"] for row in (bad, *blocked))


def test_a_backbone_that_changes_is_refused():
    with pytest.raises(FinefuseError, match="the backbone own has changed since the suite was planned"):
        loading.refuse_changed("backbone own", Own(), "another")


def test_what_can_not_be_a_remark_is_one_sentence():
    for wrong in ("one text", [1], 3):
        with pytest.raises(FinefuseError, match=r"(for|in) its `remarks`"):
            capabilities.remarks(SimpleNamespace(remarks=wrong))
    assert capabilities.remarks(SimpleNamespace()) == ()


def test_rows_without_these_fields_say_nothing():
    assert list(data_notes([{"dataset": "d", "kind": "tune", "status": "failed", "label": "x"}])) == []
