from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import Any

import pytest

from finefuse.progress import Bar, Lines, Progress, Tally, duration, make_progress, outcome_of
from finefuse.types import First, Job, Record, Ref


def job(number: int, kind: Any = "tune") -> Job:
    return Job(kind, Ref("cnn-s"), Ref("digits"), Ref("full"), "full", seed=number, key=f"key {kind} {number}")


def ok(seconds: float = 1.0) -> Record:
    return {"status": "ok", "seconds": seconds}


def failed(reason: str = "no such luck") -> Record:
    return {"status": "failed", "error": "ValueError", "reason": f"ValueError: {reason}"}


@dataclass
class FakeSuite:
    name: str = "demo"


class FakePlan:
    name = "demo"

    def __init__(self, *jobs: Job) -> None:
        self.jobs = jobs


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(Terminal):
    def write(self, text: str) -> int:
        raise OSError("the terminal went away")


def follow(progress: Progress, *records: Record) -> None:
    jobs = [job(number) for number in range(len(records))]
    progress.run_begins(FakePlan(*jobs), waiting=len(jobs), done=0)  # type: ignore[arg-type]
    for one, record in zip(jobs, records, strict=True):
        progress.job_begins(one)
        progress.job_ends(one, record)


# ---------------------------------------------------------------------------------------------------- the tally


def test_the_tally_counts_what_is_done_and_what_went_wrong() -> None:
    progress = Progress()
    follow(progress, ok(), failed(), {"status": "skipped"}, {"status": "blocked"}, {"status": "oom"})
    assert (progress.tally.total, progress.tally.done, progress.tally.bad) == (5, 5, 3)
    assert not progress.tally.running


def test_rows_from_an_earlier_run_count_as_done() -> None:
    progress = Progress()
    progress.run_begins(FakePlan(job(0), job(1), job(2)), waiting=1, done=2)  # type: ignore[arg-type]
    assert (progress.tally.total, progress.tally.done) == (3, 2)


def test_a_running_job_is_listed_until_it_is_finished() -> None:
    tally = Tally()
    tally.started(job(1))
    assert list(tally.running.values()) == [job(1)]
    tally.finished(job(1), ok())
    assert not tally.running


def test_a_job_that_never_started_can_finish_as_blocked() -> None:
    tally = Tally()
    tally.finished(job(1), {"status": "blocked", "reason": "its input failed"})
    assert (tally.done, tally.bad, tally.seconds_left()) == (1, 1, None)


def test_the_time_left_goes_by_the_mean_of_each_kind_of_job() -> None:
    clock = Clock()
    tally = Tally(clock)
    tunes, fuses = [job(n) for n in range(4)], [job(n, "fuse") for n in range(10)]
    tally.planned(FakePlan(*tunes, *fuses), done=0)  # type: ignore[arg-type]
    assert tally.seconds_left() is None
    tally.started(tunes[0])
    assert tally.seconds_left() is None
    clock.now = 10
    tally.finished(tunes[0], ok())
    tally.started(tunes[1])
    assert tally.seconds_left() == pytest.approx(30)  # three tunes; nothing is known of fusing yet
    clock.now = 20
    tally.finished(tunes[1], ok())
    tally.started(fuses[0])
    assert tally.seconds_left() is None  # a kind that was never seen to end
    clock.now = 21
    tally.finished(fuses[0], ok())
    tally.started(fuses[1])
    assert tally.seconds_left() == pytest.approx(2 * 10 + 9 * 1)


def test_the_time_left_runs_down_while_a_job_runs_but_not_below_what_waits() -> None:
    clock = Clock()
    tally = Tally(clock)
    jobs = [job(n) for n in range(3)]
    tally.planned(FakePlan(*jobs), done=0)  # type: ignore[arg-type]
    tally.started(jobs[0])
    clock.now = 10
    tally.finished(jobs[0], ok())
    tally.started(jobs[1])
    clock.now = 14
    assert tally.seconds_left() == pytest.approx(16)
    clock.now = 99
    assert tally.seconds_left() == pytest.approx(10)


def test_the_time_left_is_shared_by_the_jobs_that_run_at_once() -> None:
    clock = Clock()
    tally = Tally(clock)
    jobs = [job(n) for n in range(5)]
    tally.planned(FakePlan(*jobs), done=0)  # type: ignore[arg-type]
    tally.started(jobs[0])
    clock.now = 6
    tally.finished(jobs[0], ok())
    tally.started(jobs[1])
    tally.started(jobs[2])
    assert tally.seconds_left() == pytest.approx(4 * 6 / 2)


def test_what_is_done_already_is_not_waited_for() -> None:
    clock = Clock()
    tally = Tally(clock)
    jobs = [job(n) for n in range(10)]
    tally.planned(FakePlan(*jobs), done=7)  # type: ignore[arg-type]
    tally.started(jobs[7])
    clock.now = 3
    tally.finished(jobs[7], ok())
    tally.started(jobs[8])
    assert tally.seconds_left() == pytest.approx(2 * 3)


def test_there_is_no_time_left_to_tell_when_nothing_runs() -> None:
    tally = Tally(Clock())
    tally.planned(FakePlan(job(0)), done=0)  # type: ignore[arg-type]
    tally.started(job(0))
    tally.finished(job(0), ok())
    assert tally.seconds_left() is None


# ---------------------------------------------------------------------------------------------------- the words


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (ok(1.23), "ok in 1.2 s"),
        ({"status": "ok"}, "ok"),
        (failed(), "failed: ValueError: no such luck"),
        (failed("two\n  lines"), "failed: ValueError: two lines"),
        ({"status": "skipped", "reason": "needs two members"}, "skipped: needs two members"),
        ({"status": "failed", "error": "ValueError", "reason": ""}, "failed: ValueError"),
        ({"status": "timeout", "error": None, "reason": ""}, "timeout"),
    ],
)
def test_a_record_in_words(record: Record, text: str) -> None:
    assert outcome_of(record) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0074, "7 ms"),
        (0.9999, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7830, "2 h 10 min"),
    ],
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ---------------------------------------------------------------------------------------------------- the displays


def test_plain_lines_say_one_thing_per_finished_job() -> None:
    stream = io.StringIO()
    with make_progress(stream=stream) as progress:
        follow(progress, ok(), failed())
        progress.note("an observer complained")
    assert stream.getvalue().splitlines() == [
        "demo: 2 jobs, 0 kept, 2 to run",
        "[1/2] tune/digits/cnn-s/full//s0/m0/r0: ok in 1.0 s",
        "[2/2] tune/digits/cnn-s/full//s1/m0/r0: failed: ValueError: no such luck",
        "an observer complained",
    ]


def test_no_escape_codes_reach_a_file() -> None:
    stream = io.StringIO()
    with make_progress(stream=stream) as progress:
        follow(progress, ok(), failed())
    assert "\x1b" not in stream.getvalue()


def test_quiet_says_nothing_and_still_counts() -> None:
    stream = Terminal()
    with make_progress(quiet=True, stream=stream) as progress:
        follow(progress, ok(), failed())
        progress.note("an observer complained")
    assert stream.getvalue() == ""
    assert progress.tally.bad == 1


def test_a_terminal_gets_the_bar_and_a_file_the_lines() -> None:
    assert isinstance(make_progress(stream=Terminal())._display, Bar)
    assert isinstance(make_progress(stream=io.StringIO())._display, Lines)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.usefixtures("colours")
def test_the_bar_tells_failures_and_leaves_the_terminal_as_it_was() -> None:
    stream = Terminal()
    with make_progress(stream=stream) as progress:
        follow(progress, ok(), failed("[red]no markup[/red]"))
        progress.note("an observer complained")
    text = stream.getvalue()
    assert not progress.trouble
    assert "demo: 2 jobs, 0 kept, 2 to run" in text
    assert "tune/digits/cnn-s/full//s1/m0/r0: failed: ValueError: [red]no markup[/red]" in text
    assert "s0/m0/r0: ok" not in text
    assert "an observer complained" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor: hidden, shown again


@pytest.mark.usefixtures("colours")
def test_the_bar_shows_counts_what_runs_and_the_time_left() -> None:
    from rich.console import Console

    bar = Bar(Terminal())
    tally = Tally(clock := Clock())
    jobs = [job(n) for n in range(12)]
    tally.planned(FakePlan(*jobs), done=0)  # type: ignore[arg-type]
    bar._tally = tally
    tally.started(jobs[0])
    clock.now = 60
    tally.finished(jobs[0], failed())
    for one in jobs[1:11]:
        tally.started(one)
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as drawn:
        console.print(bar._render())
    head, *running = drawn.get().splitlines()
    assert "1/12 done" in head
    assert "1 failed" in head
    assert "about 1 min 6 s left" in head
    assert len(running) == 8  # of ten, so that the bar stays small
    assert running[0].strip() == jobs[1].cell


@pytest.mark.usefixtures("colours")
def test_the_best_lines_so_far_are_below_the_bar_and_are_replaced() -> None:
    from rich.console import Console

    def first(name: str, score: float, half: float) -> First:
        return First("digits", "cnn\x1b[31m", name, "accuracy", score, half, 1.0, 0, 3, 2, 3)

    bar, console = Bar(Terminal()), Console(file=io.StringIO(), width=100)
    with Progress(bar) as progress:
        assert progress.has_panel
        for lines in (
            [first("old", 0.1, math.inf)],
            [first("soup of [b]p[/b]", 0.9, 0.05), first("full", 0.5, math.inf)],
        ):
            progress.show_best(lines)
        with console.capture() as drawn:
            console.print(bar._render())
    _, title, best, second = (line.strip() for line in drawn.get().splitlines())
    assert title == "best so far"
    assert re.split("  +", best) == [
        "digits · cnn\\x1b[31m",
        "soup of [b]p[/b]",
        "accuracy 0.9000 ± 0.0500",
        "2 of 3 runs",
    ]
    assert re.split("  +", second)[1:3] == ["full", "accuracy 0.5000"]


@pytest.mark.parametrize("quiet", [True, False])
def test_plain_lines_and_silence_have_no_panel(quiet: bool) -> None:
    stream = io.StringIO()
    with make_progress(quiet=quiet, stream=stream) as progress:
        assert not progress.has_panel
        progress.show_best([First("digits", "cnn", "full", "accuracy", 0.9, 0.1, 1.0, 0, 3, 2, 3)])
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("colours")
def test_no_bar_where_nothing_is_to_be_done() -> None:
    stream = Terminal()
    with make_progress(stream=stream) as progress:
        progress.run_begins(FakePlan(job(0)), waiting=0, done=1)  # type: ignore[arg-type]
    assert "demo: 1 job, 1 kept, 0 to run" in stream.getvalue()
    assert "\x1b[?25l" not in stream.getvalue()


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize("display", [Bar, Lines])
def test_a_display_that_breaks_stops_no_run_and_is_reported(display: type[Bar] | type[Lines]) -> None:
    with Progress(display(Broken())) as progress:
        follow(progress, ok(), failed())
        progress.note("an observer complained")
    assert (progress.tally.done, progress.tally.bad) == (2, 1)
    assert progress.trouble == "the progress display stopped with OSError: the terminal went away"


def test_ctrl_c_in_a_display_is_still_ctrl_c() -> None:
    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(Progress(Lines(Interrupted())), ok())
