"""Observers are told how a run goes, and nothing they do costs the run anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import finefuse
from finefuse import api
from finefuse.engine.drive.observers import Observers
from finefuse.errors import PluginError
from finefuse.types import Job, Ref
from helpers.plugging import PLUGINS


@pytest.fixture
def observing(fixture_module: Any) -> Iterator[ModuleType]:
    module: ModuleType = fixture_module("plugins/observing")
    module.SEEN.clear()
    yield module
    module.SEEN.clear()


# ------------------------------------------------------------------------------------------------- of the scheduler


def test_each_is_told_of_begin_and_end(fake: ModuleType, observing: ModuleType, tmp_path: Path):
    plan = fake.plan(fake.job("a"), fake.job("b", skip="no"))
    rows = fake.run(plan, tmp_path, watcher=observing.Diary())
    told = [what[1:] for what in observing.SEEN]
    assert told[0] == ("run_begins", plan.name, 2, 2, 0)
    assert sorted(told[1:-1]) == [("job_begins", "a"), ("job_ends", "a", "ok"), ("job_ends", "b", "skipped")]
    assert told[-1] == ("run_ends", ["ok", "skipped"]) or told[-1] == ("run_ends", ["skipped", "ok"])
    assert all(row["status"] for row in rows)  # the observer cleared its copies


def test_the_end_is_told_of_a_run_that_is_stopped(fake: ModuleType, observing: ModuleType, tmp_path: Path):
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.run(fake.plan(fake.job("a")), tmp_path, watcher=observing.Diary(), call=stop, executor=fake.Inline())
    assert observing.SEEN[-1] == ("diary", "run_ends", [])


# ------------------------------------------------------------------------------------------------- of one that fails


@pytest.mark.parametrize(("quits", "error"), [(False, "OSError: no paper"), (True, "SystemExit: 3")])
def test_one_that_raises_is_told_nothing_more_and_the_others_hear_why(observing: ModuleType, quits: bool, error: str):
    told = Observers({"hostile": observing.Hostile(quits), "diary": observing.Diary()})
    for label in ("a", "b"):
        told.job_begins(type("Job", (), {"label": label})())
    assert [
        ("hostile", "job_begins", "a"),
        ("diary", "note", f"the observer 'hostile' failed in job_begins with {error}; the run continues without it"),
        ("diary", "job_begins", "a"),
        ("diary", "job_begins", "b"),
    ] == observing.SEEN


def test_alone_its_failure_goes_to_the_log(observing: ModuleType, caplog: pytest.LogCaptureFixture):
    Observers({"hostile": observing.Hostile()}).job_begins(type("Job", (), {"label": "a"})())
    assert [record.getMessage() for record in caplog.records] == [
        "the observer 'hostile' failed in job_begins with OSError: no paper; the run continues without it"
    ]


def test_what_it_prints_goes_to_stderr(observing: ModuleType, capsys: pytest.CaptureFixture[str]):
    Observers({"ends": observing.Ends()}).run_ends([])
    assert capsys.readouterr() == ("", "0 rows, said the observer\n")


def test_one_without_a_method_of_an_observer_is_refused():
    class Deaf:
        def listen(self) -> None: ...

    with pytest.raises(PluginError, match="has none of the methods of an observer: run_begins, job_begins, job_ends"):
        Observers({"deaf": Deaf()})


@pytest.mark.parametrize(
    ("former", "now"), [("planned", "run_begins"), ("started", "job_begins"), ("finished", "job_ends")]
)
def test_a_former_name_of_a_method_says_the_new_one(former: str, now: str):
    of_old = type("OfOld", (), {former: print, "note": print})
    with pytest.raises(PluginError, match=f"OfOld has a method `{former}`, which is called `{now}` now"):
        Observers({"of old": of_old()})
    both = type("Both", (), {former: print, now: print})
    Observers({"both": both()})


def test_a_job_says_what_its_members_are_called_now():
    with pytest.raises(PluginError, match="are called by what they are now: fused, trials, timed"):
        _ = Job("fuse", Ref("cnn-s")).members


# ------------------------------------------------------------------------------------------------- of a whole run

SMALL = {
    "name": "small",
    "budget": {"epochs": 1, "batch_size": 16},
    "datasets": ["points"],
    "backbones": ["tiny"],
    "schemes": ["head-sgd"],
    "latency": [],
}


@pytest.fixture
def run(observing: ModuleType, tmp_path: Path) -> Callable[..., api.Run]:
    def run(chosen: Mapping[str, Any] | None = None, **options: Any) -> api.Run:
        given = {"out": tmp_path / "out", "store": tmp_path / "store", "device": "cpu", "quiet": True}
        suite = {**SMALL, **({"run": chosen} if chosen else {})}
        return finefuse.run(suite, plugins=[str(PLUGINS / "tiny.py"), observing], **(given | options))

    return run


def test_observers_and_reports_are_those_that_the_suite_names(run: Callable[..., api.Run], observing: ModuleType):
    result = run({"observers": ["diary"], "reporters": [{"use": "shout", "word": "hi"}], "executor": "serial"})
    assert result.ok
    assert [path.name for path in result.written] == ["shout.txt"]
    assert result.written[0].read_text() == "hi, small"
    assert [what[1] for what in observing.SEEN] == ["run_begins", *["job_begins", "job_ends"] * 2, "run_ends"]


def test_what_the_call_says_counts_more(run: Callable[..., api.Run], observing: ModuleType):
    suite = {"observers": ["diary"], "reporters": ["markdown"]}
    result = run(suite, observers='diary(name="mine")', reporters=["shout(word='yes')", "csv"])
    assert sorted({what[0] for what in observing.SEEN}) == ["mine"]
    assert (result.folder / "shout.txt").read_text() == "yes, small"
    assert {path.suffix for path in result.written} == {".txt", ".csv"}
    observing.SEEN.clear()
    again = run(suite, observers=(), reporters=())
    assert (observing.SEEN, again.written) == ([], ())
    assert [path.suffix for path in api.report(result.folder, reporters="json").written] == [".json"]


def test_by_default_all_reports_are_written_and_none_observes(run: Callable[..., api.Run], observing: ModuleType):
    written = {path.name for path in run().written}
    assert {"shout.txt", "leaderboard.md"} <= written
    assert observing.SEEN == []


def test_a_hostile_observer_costs_no_row(run: Callable[..., api.Run], observing: ModuleType):
    result = run(observers=["hostile(quits=true)", "diary"])
    assert result.ok
    (note,) = [what[2] for what in observing.SEEN if what[:2] == ("diary", "note")]
    assert note.startswith("the observer 'hostile(quits=true)' failed in job_begins with SystemExit: 3")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"observers": "diray"}, "there is no observer 'diray'; did you mean 'diary'?"),
        ({"observers": "diary(nmae=1)"}, "observer 'diary' has no parameter 'nmae'; did you mean 'name'?"),
        ({"reporters": ["shuot"]}, "there is no reporter 'shuot'; did you mean 'shout'?"),
        ({"executor": "serial(1)"}, "executor 'serial': '1' can't be read"),
    ],
)
def test_what_is_wrong_is_told_before_any_compute(
    run: Callable[..., api.Run], tmp_path: Path, options: dict[str, Any], sentence: str
):
    with pytest.raises(PluginError) as caught:
        run(**options)
    assert str(caught.value).startswith(sentence)
    assert not (tmp_path / "out").exists()


def test_workers_of_a_suite_are_those_of_the_run_unless_it_says_otherwise(
    run: Callable[..., api.Run], monkeypatch: pytest.MonkeyPatch
):
    seen = []
    real = api.run_plan
    monkeypatch.setattr(api, "run_plan", lambda *args, **how: seen.append(how["workers"]) or real(*args, **how))
    run({"workers": 3, "executor": "serial"})
    run({"workers": 3, "executor": "serial"}, workers=2)
    assert seen == [3, 2]
