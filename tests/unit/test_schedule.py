from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.engine.drive import shares as crew
from finefuse.errors import WorkerDied
from finefuse.records import Records
from finefuse_zoo.executors.local import Local
from helpers.runs import FIXTURES, done, reasons, rows, statuses, steady
from helpers.waiting import gone

# ------------------------------------------------------------------------------------------- one row for every job


def test_every_hostile_call_costs_its_own_row_and_nothing_else(fake: ModuleType, tmp_path: Path) -> None:
    expected = {
        "raises": ("failed", "ValueError: no good: 7"),
        "raises_what_cannot_travel": ("failed", "Stubborn: (its message can't be had: RuntimeError)"),
        "hangs": ("timeout", "TimeoutError: took longer than 5 s"),
        "segfaults": ("failed", "WorkerDied: the worker process ended by SIGSEGV"),
        "exits": ("failed", "WorkerDied: the worker process ended with exit code 7"),
        "exits_politely": ("failed", "SystemExit: 7"),
        "eats_memory": ("oom", "MemoryExceeded: took more than 0.195 GiB of memory"),
        "asks_for_too_much": ("oom", "MemoryError"),
        "fathers": ("timeout", "TimeoutError: took longer than 5 s"),
        "raises_timeout": ("failed", "TimeoutError: the server did not answer"),
        "not_applicable": ("skipped", "NotApplicable: no common ancestor"),
        "fine": ("ok", ""),
        "prints": ("ok", ""),
    }
    notes = str(tmp_path / "pids")
    jobs = [fake.job(name, name, notes if name == "fathers" else 7) for name in expected]
    fine = [fake.job(f"fine-{n}") for n in range(6)]
    plan = fake.plan(*jobs, *fine, seconds=5, memory=200 / 1024)
    found = fake.run(plan, tmp_path, Local(preload=False))
    assert [record["cell"] for record in found] == [job.cell for job in plan.jobs]
    assert steady(rows(tmp_path)) == steady(found)
    told = {record["label"]: (record["status"], record["reason"]) for record in found}
    assert told == expected | {job.label: ("ok", "") for job in fine}
    peaks = {record["label"]: record["peak_memory"] for record in found if "peak_memory" in record}
    assert peaks.keys() == {"eats_memory", "asks_for_too_much"}
    assert peaks["eats_memory"] > 200 * 1024**2
    assert gone(*map(int, Path(notes).read_text().split()))


def test_a_traceback_is_in_a_file_that_the_row_names(fake: ModuleType, tmp_path: Path) -> None:
    (record,) = fake.run(fake.plan(fake.job("a", "raises")), tmp_path)
    assert record["error"] == "ValueError"
    assert record["traceback"] == "tracebacks/key-a.txt"
    text = (tmp_path / "out" / record["traceback"]).read_text()
    assert text.startswith("Traceback (most recent call last)")
    assert "in raises" in text
    assert {"machine", "finished", "parts", "key", "cell"} <= record.keys()


def test_what_lacks_an_input_names_the_cell_that_is_the_cause(fake: ModuleType, tmp_path: Path) -> None:
    jobs = [
        fake.job("bad", "raises"),
        fake.job("fine"),
        fake.job("second", needs=("fine", "bad")),
        fake.job("third", needs=("second",)),
        fake.job("not for this", skip="different architectures"),
        fake.job("next round", needs=("not for this",)),
        fake.job("round after", needs=("next round",)),
        fake.job("both", needs=("next round", "third")),
        fake.job("stray", needs=("unplanned",)),
    ]
    found = fake.run(fake.plan(*jobs), tmp_path)
    cell = {job.label: job.cell for job in jobs}
    cause, skip = f"needs {cell['bad']}, which failed: ValueError: no good: 0", "was skipped: different architectures"
    assert {record["label"]: (record["status"], record["reason"]) for record in found} == {
        "bad": ("failed", "ValueError: no good: 0"),
        "fine": ("ok", ""),
        "second": ("blocked", cause),
        "third": ("blocked", cause),
        "not for this": ("skipped", "different architectures"),
        "next round": ("skipped", f"needs {cell['not for this']}, which {skip}"),
        "round after": ("skipped", f"needs {cell['not for this']}, which {skip}"),
        "both": ("blocked", cause),
        "stray": ("blocked", "needs the artifact artifact-unplanned, which no job of this plan makes"),
    }


def test_a_job_that_left_no_artifact_blocks_with_its_name(fake: ModuleType, tmp_path: Path) -> None:
    jobs = fake.job("careless"), fake.job("b", needs=("careless",))
    found = fake.run(fake.plan(*jobs), tmp_path, call=fake.forgetful)
    assert reasons(found)["b"] == f"needs {jobs[0].cell}, whose artifact artifact-careless is not in the store"


def test_what_an_executor_refuses_or_breaks_is_a_row(fake: ModuleType, tmp_path: Path) -> None:
    executor = fake.Inline(refuse=TypeError("can't pickle"))
    found = fake.run(fake.plan(fake.job("a"), fake.job("b")), tmp_path, executor)
    assert reasons(found) == dict.fromkeys("ab", "TypeError: can't pickle")
    assert "TypeError" in (tmp_path / "out" / found[0]["traceback"]).read_text()
    executor = fake.Inline(refuse=WorkerDied("the worker process ended by SIGBUS", exitcode=-7))
    (record,) = fake.run(fake.plan(fake.job("c")), tmp_path, executor)
    assert (record["status"], record["error"], record["traceback"]) == ("failed", "WorkerDied", "")
    assert executor.stopped == 1


# --------------------------------------------------------------------------------------------------------- the order


def test_jobs_wait_for_their_inputs_and_timing_is_last_and_alone(fake: ModuleType, tmp_path: Path) -> None:
    jobs = [
        fake.job("base", kind="pretrain"),
        *(fake.job(f"t{n}", "meets", [str(tmp_path), n, 3], needs=("base",)) for n in range(3)),
        fake.job("clock-1", "sleeps", 0.2, kind="time", needs=("t0",)),
        fake.job("clock-2", "sleeps", 0.2, kind="time", needs=("t1",)),
        fake.job("slow", "sleeps", 0.5),
        fake.job("fused", kind="fuse", needs=("t0", "t1", "t2", "slow")),
    ]
    found = fake.run(fake.plan(*jobs), tmp_path, Local(preload=False), workers=3)
    assert set(statuses(found).values()) == {"ok"}
    log = fake.log(tmp_path / "store")
    start, end = ({line["label"]: line["time"] for line in log if line["what"] == w} for w in ("start", "end"))
    for job in jobs:
        assert all(end[name] <= start[job.label] for name, _ in job.fused)
    assert max(end[job.label] for job in jobs if job.kind != "time") <= start["clock-1"]
    assert end["clock-1"] <= start["clock-2"]


def test_an_artifact_that_two_cells_share_is_computed_once(fake: ModuleType, tmp_path: Path) -> None:
    jobs = [fake.job("a", "sleeps", 0.3), fake.job("twin", "sleeps", 0.3, artifact="artifact-a")]
    found = fake.run(fake.plan(*jobs), tmp_path, Local(preload=False))
    assert statuses(found) == {"a": "ok", "twin": "ok"}
    assert [record["key"] for record in found] == ["key-a", "key-twin"]
    assert done(fake, tmp_path) == ["a"]


def test_any_number_of_workers_gives_the_same_rows(fake: ModuleType, tmp_path: Path) -> None:
    plan = fake.plan(*(fake.job(f"j{n}", "raises" if n == 2 else "fine") for n in range(5)), *fake.naps(0.01).jobs)
    one = fake.run(plan, tmp_path / "one", Local(preload=False), workers=1)
    two = fake.run(plan, tmp_path / "two", Local(preload=False), workers=2)
    none = fake.run(plan, tmp_path / "none", fake.Inline())
    assert steady(one) == steady(two) == steady(none)


def test_gpus_take_turns(fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "all_gpus", lambda: 2)
    executor = fake.Inline(parallel=True)
    plan = fake.plan(*(fake.job(f"j{n}") for n in range(4)))
    found = fake.run(plan, tmp_path, executor, workers=4, device="cuda")
    assert executor.crew.workers == 4
    assert [record["device"] for record in found] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    (record,) = fake.run(fake.plan(fake.job("k")), tmp_path, workers=4, device="cuda:1")
    assert record["device"] == "cuda:1"


def test_a_crew_of_one_where_nothing_is_parallel(fake: ModuleType, tmp_path: Path) -> None:
    executor = fake.Inline()
    fake.run(fake.plan(fake.job("a"), memory=0.5), tmp_path, executor, workers=8)
    assert (executor.crew.workers, executor.crew.threads, executor.crew.memory) == (1, 1, 2**29)


# ---------------------------------------------------------------------------------------------------- run it again


def test_nothing_left_to_do_starts_nothing(fake: ModuleType, tmp_path: Path) -> None:
    plan = fake.plan(fake.job("a"), fake.job("b", "raises"), fake.job("c", needs=("b",)), fake.job("d", skip="no"))
    first = fake.run(plan, tmp_path)
    executor, watcher, registry = fake.Inline(), fake.Watcher(), fake.Registry()
    again = fake.run(plan, tmp_path, executor, watcher=watcher, registry=registry)
    assert again == first == rows(tmp_path)
    assert executor.crew is None
    assert executor.stopped == 0
    assert watcher.seen == [("planned", 0, 4)]
    assert registry.told == []


def test_nothing_left_to_do_imports_no_torch(fake: ModuleType, tmp_path: Path) -> None:
    plan = "fake_run.plan(fake_run.job('a'), fake_run.job('b', 'raises'))"
    fake.run(eval(plan, {"fake_run": fake}), tmp_path)
    script = (
        "import sys, pathlib, fake_run; from finefuse_zoo.executors.local import Local;"
        f"fake_run.run({plan}, pathlib.Path({str(tmp_path)!r}), Local());"
        "assert not {'torch', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    path = {"PYTHONPATH": os.pathsep.join([str(FIXTURES), *sys.path])}
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | path)


def test_retry_runs_what_failed_and_what_it_blocked(fake: ModuleType, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    plan = fake.plan(fake.job("a", "fails_without", str(mark)), fake.job("b", needs=("a",)), fake.job("c"))
    assert statuses(fake.run(plan, tmp_path)) == {"a": "failed", "b": "blocked", "c": "ok"}
    mark.write_text("")
    assert statuses(fake.run(plan, tmp_path)) == {"a": "failed", "b": "blocked", "c": "ok"}
    assert statuses(fake.run(plan, tmp_path, retry=True)) == {"a": "ok", "b": "ok", "c": "ok"}
    assert len(rows(tmp_path)) == 5
    assert done(fake, tmp_path) == ["a", "c", "a", "b"]


def test_a_row_from_another_folder_is_taken_over_under_this_name(fake: ModuleType, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    fake.run(fake.plan(fake.job("a", pool="old"), fake.job("bad", "raises"), name="one"), theirs)
    (first, _) = rows(theirs)
    executor, watcher, registry = fake.Inline(), fake.Watcher(), fake.Registry()
    job = fake.job("b", key="key-a", artifact="artifact-a", pool="new", seed=3)
    (record,) = fake.run(
        fake.plan(job, name="two"), mine, executor, store=theirs / "store", watcher=watcher, registry=registry
    )
    assert executor.crew is None
    assert record == first | {
        "suite": "two", "cell": job.cell, "label": "b", "pool": "new", "seed": 3, "parts": {"lr": "b"}
    }  # fmt: skip
    assert watcher.seen == [("planned", 0, 1)]
    assert [told.label for told, _ in registry.told] == ["b"]
    found = fake.run(fake.plan(fake.job("bad", "fine")), mine, store=theirs / "store")
    assert statuses(found) == {"bad": "ok"}, "a failed one is not taken over"


def test_a_lost_input_is_made_again_without_a_second_row(fake: ModuleType, tmp_path: Path) -> None:
    base, a = fake.job("base"), fake.job("a", needs=("base",))
    fake.run(fake.plan(base, a), tmp_path)
    store = tmp_path / "other store"
    watcher = fake.Watcher()
    found = fake.run(fake.plan(base, a, fake.job("b", needs=("a",))), tmp_path, store=store, watcher=watcher)
    assert statuses(found) == {"base": "ok", "a": "ok", "b": "ok"}
    assert len(rows(tmp_path)) == 3
    assert [line["label"] for line in fake.log(store) if line["what"] == "compute"] == ["base", "a", "b"]
    assert watcher.seen == [("planned", 1, 2), ("started", "b"), ("finished", "b", "ok")]


def test_a_lost_input_that_cannot_be_made_again_blocks(fake: ModuleType, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("")
    a = fake.job("a", "fails_without", str(mark))
    fake.run(fake.plan(a), tmp_path)
    mark.unlink()
    watcher = fake.Watcher()
    plan = fake.plan(a, fake.job("b", needs=("a",)))
    found = fake.run(plan, tmp_path, store=tmp_path / "other store", watcher=watcher)
    assert statuses(found) == {"a": "ok", "b": "blocked"}
    assert reasons(found)["b"].startswith(f"needs {a.cell}, which failed: FileNotFoundError")
    notes = [text for what, text, *_ in watcher.seen if what == "note"]
    assert len(notes) == 1
    assert notes[0].startswith(f"{a.cell} could not be made again: FileNotFoundError")
    assert len(rows(tmp_path)) == 2


def test_plan_json_names_every_cell(fake: ModuleType, tmp_path: Path) -> None:
    plan = fake.plan(fake.job("a"), fake.job("b", skip="no"))
    fake.run(plan, tmp_path)
    assert Records(tmp_path / "out").read_plan() == ("fake", {job.place: job.key for job in plan.jobs})
    assert Records(tmp_path / "out").read_gate() == {}


def test_plan_json_has_the_gate_of_the_suite(fake: ModuleType, tmp_path: Path) -> None:
    plan = fake.plan(fake.job("a"))
    gate = {"margin": "1pp", "fail_on": {"flops": 0}}
    fake.run(dataclasses.replace(plan, suite=dataclasses.replace(plan.suite, gate=gate)), tmp_path)
    assert Records(tmp_path / "out").read_gate() == gate


# ------------------------------------------------------------------------------------------- watchers and observers


def test_the_watcher_is_told(fake: ModuleType, tmp_path: Path) -> None:
    watcher, registry = fake.Watcher(), fake.Registry(complaints=("my_hook raised ValueError: no",))
    fake.run(fake.plan(fake.job("a"), fake.job("b", skip="no")), tmp_path, watcher=watcher, registry=registry)
    complaint = ("note", "my_hook raised ValueError: no")
    assert watcher.seen == [
        ("planned", 2, 0),
        ("started", "a"),
        ("finished", "b", "skipped"),
        complaint,
        ("finished", "a", "ok"),
        complaint,
    ] or watcher.seen == [
        ("planned", 2, 0),
        ("started", "a"),
        complaint,
        ("finished", "a", "ok"),
        complaint,
        ("finished", "b", "skipped"),
    ]  # fmt: skip
    assert [job.label for job, _ in registry.told] == ["a", "b"]


@pytest.mark.parametrize("broken", ["run_begins", "job_begins", "job_ends", "note"])
def test_a_watcher_that_fails_ends_its_service_only(
    fake: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("terminal gone")

    watcher, registry = fake.Watcher(), fake.Registry(complaints=("hm",))
    setattr(watcher, broken, fail)
    found = fake.run(fake.plan(fake.job("a"), fake.job("b")), tmp_path, watcher=watcher, registry=registry)
    assert statuses(found) == {"a": "ok", "b": "ok"}
    assert len(caplog.records) == 1
    assert "the run continues without it" in caplog.text
    assert "terminal gone" in caplog.text
