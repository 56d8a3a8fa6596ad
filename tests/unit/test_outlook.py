from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from finefuse.engine.drive.outlook import look, state_of
from finefuse.engine.store.artifacts import Artifacts


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "store")


def record(job, status: str = "ok", **fields: object) -> dict:
    named = job.place._asdict() | {"cell": job.cell, "key": job.key, "parts": dict(job.parts)}
    scores = {"metrics": ["hits"], "test.hits": 0.5, "better.hits": "higher"}
    return named | scores | {"status": status, "reason": "Oops"} | fields


def labels(jobs) -> list[str]:
    return [job.label for job in jobs]


def states(plan, records, store: Artifacts) -> dict[str, str]:
    return {standing.job.label: str(standing) for standing in state_of(plan, records, store)}


def test_all_waits_at_first(fake: ModuleType, store: Artifacts) -> None:
    plan = fake.plan(fake.job("a"), fake.job("b", needs=("a",)), fake.job("c", skip="no ancestor"))
    outlook = look(plan, [], store)
    assert labels(outlook.waiting) == ["a", "b", "c"]
    assert (outlook.rows, outlook.adopted, outlook.remade) == ({}, (), ())
    assert states(plan, [], store) == dict.fromkeys("abc", "to run")


@pytest.mark.parametrize("status", ["ok", "skipped"])
@pytest.mark.parametrize("retry", [False, True])
def test_done_is_done_wherever_its_artifact_is(fake: ModuleType, store: Artifacts, status: str, retry: bool) -> None:
    a = fake.job("a")
    outlook = look(fake.plan(a), [record(a, status)], store, retry=retry)
    assert labels(outlook.waiting) == []
    assert outlook.rows[a.place]["status"] == status
    assert states(fake.plan(a), [record(a, status)], store) == {"a": "cached"}


@pytest.mark.parametrize("status", ["failed", "timeout", "oom"])
def test_what_went_wrong_stays_until_retried(fake: ModuleType, store: Artifacts, status: str) -> None:
    a, b = fake.job("a"), fake.job("b", needs=("a",))
    plan, records = fake.plan(a, b), [record(a, status), record(b, "blocked", reason="needs a")]
    assert labels(look(plan, records, store).waiting) == []
    assert labels(look(plan, records, store, retry=True).waiting) == ["a", "b"]
    assert states(plan, records, store)["a"] == "failed: Oops (kept; --retry runs it again)"
    assert states(plan, records, store)["b"] == "failed: needs a (kept; --retry runs it again)"


def test_the_last_row_counts(fake: ModuleType, store: Artifacts) -> None:
    a = fake.job("a")
    assert labels(look(fake.plan(a), [record(a, "failed"), record(a)], store, retry=True).waiting) == []
    assert labels(look(fake.plan(a), [record(a), record(a, "failed")], store, retry=True).adopted[0][:1]) == ["a"]


def test_blocked_is_looked_at_again_when_its_input_can_be_had(fake: ModuleType, store: Artifacts) -> None:
    a, b, c = fake.job("a"), fake.job("b", needs=("a",)), fake.job("c", needs=("b",))
    blocked = [record(b, "blocked"), record(c, "blocked")]
    assert labels(look(fake.plan(a, b, c), [record(a, "failed"), *blocked], store).waiting) == []
    assert labels(look(fake.plan(a, b, c), [record(a), *blocked], store).waiting) == ["b", "c"]
    store.save(a.artifact, {})  # another suite has made it
    assert labels(look(fake.plan(a, b, c), [record(a, "failed"), *blocked], store).waiting) == ["b", "c"]


def test_makers_of_lost_inputs_run_again_and_only_those(fake: ModuleType, store: Artifacts) -> None:
    base, a, b = fake.job("base"), fake.job("a", needs=("base",)), fake.job("b", needs=("base",))
    old, new = fake.job("old", needs=("a", "b")), fake.job("new", needs=("a",))
    plan, records = fake.plan(base, a, b, old, new), [record(job) for job in (base, a, b, old)]
    assert labels(look(plan, records, store).remade) == ["base", "a"]
    assert labels(look(plan, records, store).waiting) == ["new"]
    assert states(plan, records, store) == {
        "base": "to run: its artifact is gone from the store and another job needs it",
        "a": "to run: its artifact is gone from the store and another job needs it",
        "b": "cached",
        "old": "cached",
        "new": "to run",
    }
    store.save(a.artifact, {})
    assert look(plan, records, store).remade == ()
    assert look(fake.plan(base, a, b, old), records[:4], Artifacts(store.root / "empty")).remade == ()


def test_nothing_is_made_again_for_a_job_that_cannot_run(fake: ModuleType, store: Artifacts) -> None:
    a, b = fake.job("a"), fake.job("b")
    doomed, skipped = fake.job("doomed", needs=("a", "b")), fake.job("skipped", needs=("a",), skip="no")
    outlook = look(fake.plan(a, b, doomed, skipped), [record(a), record(b, "failed")], store)
    assert labels(outlook.waiting) == ["doomed", "skipped"]
    assert outlook.remade == ()


def test_a_lost_input_that_two_cells_share_is_made_once(fake: ModuleType, store: Artifacts) -> None:
    a, twin = fake.job("a"), fake.job("twin", artifact="artifact-a")
    c = fake.job("c", needs=("a",))
    assert len(look(fake.plan(a, twin, c), [record(a), record(twin)], store).remade) == 1
    assert look(fake.plan(a, twin, c), [record(a)], store).remade == ()  # the twin waits and will make it


def test_an_input_without_digests_is_not_said_to_be_gone(fake: ModuleType, store: Artifacts) -> None:
    a, b = fake.job("a"), fake.job("b", needs=("a",))
    plan = fake.plan(a, b)
    assert states(plan, [record(a)], store)["a"] == (
        "to run: its artifact is gone from the store and another job needs it"
    )
    store.save(a.artifact, {})
    next(store.root.rglob("digests.json")).unlink()
    assert states(plan, [record(a)], store)["a"] == (
        "to run: its artifact was kept without digests and another job needs it"
    )


def test_rows_are_taken_over(fake: ModuleType, store: Artifacts) -> None:
    a, b, c = fake.job("a"), fake.job("b"), fake.job("c")
    store.save_row(a.key, record(a, suite="elsewhere"))
    store.save_row(b.key, record(b, "failed"))
    renamed = record(fake.job("old name"), key=c.key)
    outlook = look(fake.plan(a, b, c), [renamed], store)
    assert [(job.label, row.get("suite")) for job, row in outlook.adopted] == [("a", "elsewhere"), ("c", None)]
    assert labels(outlook.waiting) == ["b"]
    assert states(fake.plan(a, b, c), [renamed], store) == {
        "a": "cached: its row is in the store",
        "b": "to run",
        "c": "cached: its row is in the store",
    }


def test_stale_says_what_changed(fake: ModuleType, store: Artifacts) -> None:
    before, now = fake.job("a"), fake.job("a", key="other", parts=(("lr", "a"), ("source x.py", "1")))
    assert states(fake.plan(now), [record(before)], store) == {"a": "stale: source x.py is new"}
    assert states(fake.plan(now), [record(before), record(now)], store) == {"a": "cached"}
