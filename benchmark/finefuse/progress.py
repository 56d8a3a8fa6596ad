"""Shows how a run is going: a live bar on a terminal, plain lines elsewhere. A broken display doesn't stop a run."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TextIO

from finefuse.records import why
from finefuse.text import single_line
from finefuse.types import Agenda, First, Job, Record

if TYPE_CHECKING:
    from rich.console import RenderableType

BAD = frozenset({"failed", "timeout", "oom", "blocked"})
"""Statuses that make a run end with exit code 1."""


class Tally:
    """How far a run is: what the displays show, one of them from a thread of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.suite = ""
        self.total = self.done = self.bad = 0
        self.running: dict[str, Job] = {}
        self._left: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._spent: dict[str, list[float]] = defaultdict(list)
        self._clock = clock

    def planned(self, plan: Agenda, done: int) -> None:
        """A run begins, `done` of its rows are there."""
        self.suite, self.total, self.done = plan.name, len(plan.jobs), done
        share = 1 - done / max(1, self.total)
        for kind, count in Counter(job.kind for job in plan.jobs).items():
            self._left[kind] = round(count * share)

    def started(self, job: Job) -> None:
        """A job begins."""
        self.running[job.key] = job
        self._began[job.key] = self._clock()

    def finished(self, job: Job, record: Record) -> None:
        """A job has its row."""
        self.done += 1
        self.bad += record["status"] in BAD
        self._left[job.kind] -= 1
        self.running.pop(job.key, None)
        if job.key in self._began:
            self._spent[job.kind].append(self._clock() - self._began.pop(job.key))

    def seconds_left(self) -> float | None:
        """What is left of each kind of job, at its mean time so far, shared by the jobs that run now.

        None while jobs of a kind run of which none has ended. Kinds that have not begun are left out.
        """
        running, mean = list(self.running.items()), {kind: fmean(spent) for kind, spent in list(self._spent.items())}
        if not running or any(job.kind not in mean for _, job in running):
            return None
        left = sum(max(0, self._left[kind]) * seconds for kind, seconds in mean.items())
        now = self._clock()
        behind = sum(min(now - self._began.get(key, now), mean[job.kind]) for key, job in running)
        return max(0.0, left - behind) / len(running)


class Display(Protocol):
    """Shows a tally; one that has a `panel` keeps the best lines so far in sight."""

    panel: ClassVar[bool]

    def planned(self, tally: Tally, waiting: int) -> None:
        """A run begins; `waiting` jobs are to be done. The tally is kept up to date from here on."""

    def finished(self, job: Job, record: Record) -> None:
        """A job has its row."""

    def best(self, lines: Sequence[First]) -> None:
        """The best lines so far, in place of those before."""

    def note(self, text: str) -> None:
        """One sentence worth reading."""

    def close(self) -> None:
        """Nothing more will come; may be called twice."""


class Progress:
    """The observer behind the display: keeps the tally and updates the display, if there is one.

    A context manager that restores the terminal. If a display raises, it is switched off and the run continues;
    `trouble` then holds the reason.
    """

    def __init__(self, display: Display | None = None) -> None:
        self.tally = Tally()
        self.trouble = ""
        self._display = display

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:
        """A run begins."""
        self.tally.planned(plan, done)
        self._show(lambda display: display.planned(self.tally, waiting))

    def job_begins(self, job: Job) -> None:
        """A job begins."""
        self.tally.started(job)

    def job_ends(self, job: Job, record: Record) -> None:
        """A job has its row."""
        self.tally.finished(job, record)
        self._show(lambda display: display.finished(job, record))

    def run_ends(self, _: Sequence[Record]) -> None:
        """Nothing more will come."""
        self._show(lambda display: display.close())

    @property
    def has_panel(self) -> bool:
        """Whether the best lines so far have a place on the display."""
        return self._display is not None and self._display.panel

    def show_best(self, lines: Sequence[First]) -> None:
        """The best lines so far, in place of those before."""
        self._show(lambda display: display.best(lines))

    def note(self, text: str) -> None:
        """Something that is worth a line, such as the complaint of an observer."""
        self._show(lambda display: display.note(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._show(lambda display: display.close())

    def _show(self, act: Callable[[Display], None]) -> None:
        if self._display is None:
            return
        try:
            act(self._display)
        except Exception as error:
            self._display = None
            self.trouble = f"the progress display stopped with {type(error).__name__}: {error}"


def make_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """A live bar if `stream` (stderr) is a terminal, else plain lines; nothing with `quiet`."""
    stream = stream or sys.stderr
    if quiet:
        return Progress()
    return Progress(Bar(stream) if stream.isatty() else Lines(stream))


def outcome_of(record: Record) -> str:
    """How a job ended: `ok in 1.2 s`, or `failed: ValueError: ...`."""
    status = str(record["status"])
    if status == "ok":
        seconds = record.get("seconds")
        return status if seconds is None else f"ok in {duration(seconds)}"
    cause = " ".join(why(record).split())
    return f"{status}: {cause}" if cause else status


def duration(seconds: float) -> str:
    """Seconds in readable form: `40 ms`, `1.5 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Lines:
    """One plain line per finished job."""

    panel: ClassVar[bool] = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tally = Tally()

    def planned(self, tally: Tally, waiting: int) -> None:
        """How much there is to do."""
        self._tally = tally
        self.note(opening(tally, waiting))

    def finished(self, job: Job, record: Record) -> None:
        """`[ 7/84] tune/digits/cnn-s/full//s0/m0/r0: ok in 1.2 s`."""
        done, total = self._tally.done, self._tally.total
        self.note(f"[{done:{len(str(total))}}/{total}] {job.cell}: {outcome_of(record)}")

    def best(self, lines: Sequence[First]) -> None:
        """Nothing: lines that are printed can't be replaced."""

    def note(self, text: str) -> None:
        """A line of text."""
        print(single_line(text), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""


class Bar:
    """A bar with what is done, failed, running and the time left, and the best lines so far below it.

    Jobs that fail leave a line above it.
    """

    panel: ClassVar[bool] = True

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._tally = Tally()
        self._best: Sequence[First] = ()
        self._console = Console(file=stream)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def planned(self, tally: Tally, waiting: int) -> None:
        """How much there is to do; no bar where that is nothing."""
        self._tally = tally
        self.note(opening(tally, waiting))
        if waiting:
            self._live.start()

    def finished(self, job: Job, record: Record) -> None:
        """A line for what went wrong."""
        if record["status"] in BAD:
            self.note(f"{job.cell}: {outcome_of(record)}")

    def best(self, lines: Sequence[First]) -> None:
        """The lines below the bar."""
        self._best = lines

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(single_line(text), markup=False, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally, left = self._tally, self._tally.seconds_left()
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=max(1, tally.total), completed=tally.done, width=30),
            f"{tally.done}/{tally.total} done",
            Text(f"{tally.bad} failed", style="red" if tally.bad else "dim"),
            "" if left is None else f"about {duration(left)} left",
        )
        cells = [single_line(job.cell) for job in list(tally.running.values())[:8]]
        running = [Text(f"  {cell}", style="dim", no_wrap=True, overflow="ellipsis") for cell in cells]
        return Group(head, *running, *([_panel(self._best)] if self._best else []))


def _panel(lines: Sequence[First]) -> RenderableType:
    """The best lines so far: where, what, its score with its interval, and how many runs it rests on."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), title="best so far", title_justify="left", show_header=False)
    for style in ("dim", "", "", "dim"):
        table.add_column(style=style, no_wrap=True, overflow="ellipsis")
    for line in lines:
        half = f" ± {line.half:.4f}" if math.isfinite(line.half) and line.half > 0 else ""
        score = f"{line.metric} {line.score:.4f}{half}"
        cells = f"{line.dataset} · {line.backbone}", line.name, score, f"{line.ok} of {line.planned} runs"
        table.add_row(*(Text(single_line(cell)) for cell in cells))
    return table


def opening(tally: Tally, waiting: int) -> str:
    """`quick: 84 jobs, 60 kept, 24 to run`."""
    return f"{tally.suite}: {tally.total} job{'s' * (tally.total != 1)}, {tally.done} kept, {waiting} to run"
