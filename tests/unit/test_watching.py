"""Reports that are kept current while a run goes on."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from finefuse import api
from finefuse.discovery.registry import Registry
from finefuse.engine.drive.observers import Observers
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.reports import Reported
from finefuse.judge.watching import EVERY, SHARE, SHOWN, SOON, Watching, best_lines
from finefuse.progress import make_progress
from finefuse.types import First, Job, Record, Ref
from helpers.boards import runs

JOB = Job("tune", Ref("net"))


class Clock:
    """Goes on only when told to; writing a report takes `cost` seconds."""

    def __init__(self) -> None:
        self.now, self.cost = 0.0, 0.0

    def __call__(self) -> float:
        return self.now


def watching(rows: list[Record], told: list[str], clock: Clock, complaints: tuple[str, ...] = ()) -> Watching:
    def write() -> Reported:
        clock.now += clock.cost
        return Reported(rows, make_leaderboard("demo", rows), (), complaints)

    return Watching(write, told.append, clock)


def test_the_best_line_of_each_table_is_told_when_it_changes(build: ModuleType) -> None:
    rows, told, clock = runs(build, "full(lr=1)", [0.5]), list[str](), Clock()
    watch = watching(rows, told, clock)
    watch.job_ends(JOB, rows[0])
    assert told == ["best on digits · cnn-s: full, accuracy 0.5000 (1 of 1 runs)"]
    clock.now += EVERY
    watch.job_ends(JOB, rows[0])
    assert len(told) == 1
    rows += runs(build, "soup", [0.75, 0.25], "fuse", pool="p", dataset="wine")
    clock.now += EVERY
    watch.job_ends(JOB, rows[0])
    assert told[1:] == ["best on wine · cnn-s: soup of p, accuracy 0.5000 (2 of 2 runs)"]


def test_reports_take_a_small_share_of_the_time(build: ModuleType) -> None:
    rows, told, clock = runs(build, "full", [0.5]), list[str](), Clock()
    watch = watching(rows, told, clock)
    clock.cost = 3.0
    times = []
    while clock.now < 300:
        before = clock.now
        watch.job_ends(JOB, rows[0])
        times += [before] if clock.now > before else []
        clock.now += 1.0
    gaps = [later - first for first, later in itertools.pairwise(times)]
    assert len(gaps) > 2
    assert min(gaps) >= 3.0 / SHARE
    clock.cost = 0.0


def test_rows_that_change_no_line_are_passed_over(build: ModuleType) -> None:
    told = list[str]()
    watch = watching(runs(build, "full", [0.5]), told, Clock())
    watch.job_ends(JOB, build.row("time"))
    assert told == []


def test_complaints_of_reporters_are_told_once(build: ModuleType) -> None:
    rows, told, clock = runs(build, "full", [0.5]), list[str](), Clock()
    watch = watching(rows, told, clock, ("the reporter 'x' failed",))
    for _ in range(2):
        watch.job_ends(JOB, rows[0])
        clock.now += EVERY
    assert told.count("the reporter 'x' failed") == 1


def test_a_report_that_fails_ends_the_watching_and_not_the_run(build: ModuleType) -> None:
    def fail() -> Reported:
        raise RuntimeError("no disk")

    notes = list[str]()

    class Notes:
        def note(self, text: str) -> None:
            notes.append(text)

    told = Observers({"progress": Notes()})
    told.add("watch", Watching(fail, told.note))
    for _ in range(2):
        told.job_ends(JOB, build.row())
    assert notes == ["the observer 'watch' failed in job_ends with RuntimeError: no disk; the run continues without it"]


def test_a_run_writes_its_reports_on_the_way(tmp_path: Path) -> None:
    toys = Path(__file__).parents[1] / "fixtures"
    seen: list[tuple[int, bool]] = []

    class Seeing:
        def job_ends(self, job: Job, record: Record) -> None:
            seen.append((len(seen), (tmp_path / "out" / "leaderboard.md").exists()))

        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    result = api.run(
        toys / "toys" / "toy.toml",
        plugins=str(toys / "toys.py"),
        out=tmp_path / "out",
        store=tmp_path / "store",
        workers=0,
        watcher=Seeing(),
        watch=True,
        reporters="markdown",
    )
    assert result.ok
    assert seen[-1][1]
    assert any(note.startswith("best on ") for note in notes)


def test_a_panel_shows_the_best_lines_again_and_again_and_complaints_are_told_once(build: ModuleType) -> None:
    rows, told, clock, shown = runs(build, "full(lr=1)", [0.5]), list[str](), Clock(), list[Sequence[First]]()

    def write() -> Reported:
        return Reported(rows, make_leaderboard("demo", rows), (), ("the reporter 'x' failed",))

    watch = Watching(write, told.append, clock, shown.append, SOON)
    for _ in range(2):
        watch.job_ends(JOB, rows[0])
        rows += runs(build, "soup", [0.75, 0.25], "fuse", pool="p")
        clock.now += SOON
    assert [[line.name for line in lines] for lines in shown] == [["full"], ["full", "soup of p"]]
    assert told == ["the reporter 'x' failed"]


@pytest.mark.parametrize(("tables", "each"), [(1, [4]), (2, [3, 3]), (4, [1] * 4), (9, [1] * SHOWN)])
def test_of_few_tables_several_lines_are_shown(build: ModuleType, tables: int, each: list[int]) -> None:
    labels = ("a", "b", "c", "d")
    rows = [build.row(label=name, dataset=f"data {at}") for at in range(tables) for name in labels]
    found = best_lines(make_leaderboard("demo", rows))
    assert [len(list(own)) for _, own in itertools.groupby(found, key=lambda line: line.dataset)] == each


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "always", "made"),
    [(Terminal, False, [True]), (Terminal, True, [True]), (io.StringIO, False, []), (io.StringIO, True, [False])],
)
def test_a_run_is_followed_if_asked_or_for_a_panel(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], always: bool, made: list[bool]
) -> None:
    asked: list[bool] = []

    def watch(*given: object) -> Watching:
        asked.append(given[-1] is not None)
        return Watching(lambda: Reported((), make_leaderboard("demo", []), (), ()), str)

    monkeypatch.setattr(api, "_watch", watch)
    plan = SimpleNamespace(remarks=())
    with make_progress(stream=stream()) as progress:
        how = {"quiet": False, "out": Path("out"), "refs": (), "watch": always}
        with api._watching(progress, Registry(), plan, {}, **how):  # type: ignore[arg-type]
            assert asked == made
