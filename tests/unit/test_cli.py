"""The command line around the verbs: exit codes, errors as sentences, speed; and the verb `run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import finefuse
from finefuse import FinefuseError, api
from finefuse.cli import app, main
from finefuse.errors import StoreError
from finefuse.progress import Progress, Tally
from finefuse.types import Record
from helpers.calling import Outcome, call

TOYS = Path(__file__).parents[1] / "fixtures" / "toys.py"
CLUMSY = Path(__file__).parents[1] / "fixtures" / "toys" / "clumsy.toml"


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Calls the command line in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    return partial(call, capsys)


@dataclass
class FakeBoard:
    def to_markdown(self) -> str:
        return "| strategy | hits |"


def row(number: int, status: str = "ok", **fields: Any) -> Record:
    return {"cell": f"tune/blobs/mlp/plain//s{number}/m0/r0", "status": status, "reason": "", **fields}


def a_run(*rows: Record, complaints: tuple[str, ...] = ()) -> api.Run:
    board: Any = FakeBoard()
    return api.Run(Path("results/toy"), rows, board, (Path("results/toy/leaderboard.md"),), complaints)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `finefuse run` asks of the API, which here does nothing but succeed."""
    seen: dict[str, Any] = {}

    def run(suite: str, **options: Any) -> api.Run:
        seen.update(options, suite=suite)
        return a_run(row(0))

    monkeypatch.setattr(api, "run", run)
    return seen


def answer(monkeypatch: pytest.MonkeyPatch, result: api.Run | BaseException) -> None:
    def run(suite: str, **options: Any) -> api.Run:
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr(api, "run", run)


# ------------------------------------------------------------------------------------------------- around the verbs


def test_version(cli: Cli) -> None:
    assert cli("--version") == Outcome(0, f"finefuse {finefuse.__version__}\n", "")


def test_help_names_every_verb_in_one_line_each(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    for verb in ("run", "plan", "check", "list", "show", "report", "plugins", "schema", "compare", "new"):
        assert f"\n  {verb} " in outcome.out
    assert "..." not in outcome.out.partition("Commands:")[2]  # no sentence is cut off


def test_every_verb_has_help_for_every_option(cli: Cli) -> None:
    for command in app.registered_commands:
        assert command.name
        outcome = cli(command.name, "--help")
        assert outcome.code == 0
        lines = outcome.out.partition("Options:")[2].splitlines()
        assert not [line for line in lines if line.startswith("  -") and len(line.split("  ")) < 3], command.name


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rnu", "quick"], "rnu"),
        (["run"], "SUITE"),
        (["run", "quick", "--worker", "2"], "--workers"),
        (["run", "quick", "--workers", "two"], "--workers"),
        (["run", "quick", "--out"], "--out"),
        (["compare", "a", "b", "--alpha", "7"], "alpha"),
        (["new", "reader", "thing"], "reader"),
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2(cli: Cli, arguments: list[str], hint: str) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert hint.lower() in outcome.err.lower()
    assert "Traceback" not in outcome.err


def test_an_error_of_finefuse_is_one_sentence_on_stderr(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, FinefuseError("toy.toml:3: no such scheme 'plian'; did you mean 'plain'?"))
    outcome = cli("run", "toy")
    assert outcome == Outcome(2, "", "error: toy.toml:3: no such scheme 'plian'; did you mean 'plain'?\n")


def test_an_error_is_its_sentence_alone_without_the_traceback_of_a_worker(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = FinefuseError("the store can't be written to")
    error.add_note("Traceback (most recent call last): and 80 lines more")
    answer(monkeypatch, error)
    assert cli("run", "mine") == Outcome(2, "", f"error: {error}\n")


def test_a_bug_of_finefuse_is_not_hidden(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["run", "toy"])


def test_a_terminal_that_cannot_draw_a_sign_is_no_reason_to_fail() -> None:
    code = "import finefuse.cli as c, finefuse.cli.list as l; l.rows = lambda *a: [('±', '', '')]; c.main(['list'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(PYTHONIOENCODING="ascii"))
    assert done.returncode == 0, done.stderr
    assert b"?" in done.stdout


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(part for part in sys.path if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def test_python_minus_m_finefuse_is_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "finefuse", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"finefuse {finefuse.__version__}\n")


# ------------------------------------------------------------------------------------------------- run


def test_run_hands_on_all_its_options(cli: Cli, asked: dict[str, Any]) -> None:
    several = ["--only", "a*", "--only", "b", "--plugin", "x.py", "--plugin", "y"]
    places = ["--out", "there", "--store", "here"]
    told = ["--reporter", "csv", "--reporter", "json(indent=2)", "--observer", "diary"]
    outcome = cli(
        "run",
        "toy",
        "--workers",
        2,
        "--device",
        "cpu",
        "--executor",
        "serial",
        *places,
        *several,
        *told,
        "--retry",
        "--portable",
        "--watch",
    )
    assert outcome.code == 0
    watcher = asked.pop("watcher")
    assert isinstance(watcher, Progress)
    assert asked == {
        "suite": "toy",
        "workers": 2,
        "device": "cpu",
        "portable": True,
        "watch": True,
        "executor": "serial",
        "reporters": ["csv", "json(indent=2)"],
        "observers": ["diary"],
        "out": Path("there"),
        "only": ["a*", "b"],
        "plugins": ["x.py", "y"],
        "store": Path("here"),
        "retry": True,
    }


def test_run_leaves_what_is_not_said_to_the_api(cli: Cli, asked: dict[str, Any]) -> None:
    assert cli("run", "toy").code == 0
    del asked["watcher"]
    assert asked == {
        "suite": "toy",
        "workers": None,
        "device": "auto",
        "portable": False,
        "watch": False,
        "executor": None,
        "reporters": None,
        "observers": None,
        "out": None,
        "only": (),
        "plugins": (),
        "store": None,
        "retry": False,
    }


def test_run_prints_the_board_and_says_where_it_is(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, a_run(row(0), row(1, "skipped", reason="needs two members")))
    outcome = cli("run", "toy")
    assert outcome.code == 0
    assert outcome.out == "| strategy | hits |\n"
    assert outcome.err == "written: results/toy: leaderboard.md\n"


def test_run_with_failed_rows_exits_with_1_and_says_which_and_why(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = row(1, "failed", reason="ValueError: no", error="ValueError", traceback="tracebacks/ab.txt")
    answer(monkeypatch, a_run(row(0), broken, row(2, "blocked", reason="needs s1"), row(3, "failed", reason="x")))
    outcome = cli("run", "toy")
    assert outcome.code == 1
    assert outcome.out == "| strategy | hits |\n"
    assert outcome.err.splitlines()[1:] == [
        "3 of 4 rows are not ok: 2 failed, 1 blocked; --retry runs them again",
        f"  {broken['cell']}: failed: ValueError: no (traceback: results/toy/tracebacks/ab.txt)",
        f"  {row(2)['cell']}: blocked: needs s1",
        f"  {row(3)['cell']}: failed: x",
    ]


def test_many_failures_are_not_all_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, a_run(*(row(number, "timeout") for number in range(30))))
    lines = cli("run", "toy").err.splitlines()
    assert len(lines) == 2 + 10 + 1
    assert lines[-1] == "  and 20 more; see results/toy/records.jsonl"


def test_a_report_that_could_not_be_written_is_told_and_exits_with_1(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, a_run(row(0), complaints=("the reporter 'html' failed with OSError: full",)))
    outcome = cli("run", "toy")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == "the reporter 'html' failed with OSError: full"


def test_a_progress_display_that_broke_is_told_at_the_end(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(suite: str, *, watcher: Progress, **options: Any) -> api.Run:
        watcher.trouble = "the progress display stopped with OSError: gone"
        return a_run(row(0))

    monkeypatch.setattr(api, "run", run)
    outcome = cli("run", "toy")
    assert outcome.code == 0
    assert outcome.err.splitlines()[-1] == "the progress display stopped with OSError: gone"


def test_ctrl_c_exits_with_130_and_says_what_is_kept(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(suite: str, *, watcher: Progress, **options: Any) -> api.Run:
        watcher.tally.total, watcher.tally.done = 84, 12
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run", run)
    outcome = cli("run", "toy")
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err == "interrupted: 12 of 84 rows are kept; the same command continues from there\n"


def test_ctrl_c_before_the_plan_is_made(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, KeyboardInterrupt())
    outcome = cli("run", "toy")
    assert (outcome.code, outcome.err) == (130, "interrupted before any job was started\n")


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_keeps_the_board_and_drops_the_progress(cli: Cli, monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    def run(suite: str, *, watcher: Progress, **options: Any) -> api.Run:
        watcher.note("halfway")
        return a_run(row(0))

    monkeypatch.setattr(api, "run", run)
    outcome = cli("run", "toy", *(["--quiet"] if quiet else []))
    assert outcome.out == "| strategy | hits |\n"
    assert ("halfway" in outcome.err) is not quiet


def test_a_store_error_in_the_middle_is_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, StoreError("results/toy/records.jsonl: can't be written: No space left on device."))
    outcome = cli("run", "toy")
    assert outcome.code == 2
    assert outcome.err.startswith("error: results/toy/records.jsonl: can't be written")


SLOW = """
import time
from dataclasses import dataclass
from finefuse import Entry, hookimpl

@dataclass(frozen=True)
class Slow:
    seconds: float = 60.0

    def tune(self, on):
        print("asleep", flush=True)
        time.sleep(self.seconds)

@hookimpl
def finefuse_schemes():
    yield Entry("slow", Slow)
"""


def test_a_real_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    suite = CLUMSY.read_text().replace('"clumsy", "choosy"', '"slow"').replace('fusions   = ["middle"]', "")
    (tmp_path / "s.toml").write_text(suite.partition("[pools]")[0])
    command = [sys.executable, "-m", "finefuse", "run", "s.toml", "--plugin", str(TOYS), "--plugin", "slow.py"]
    where: dict[str, Any] = {"cwd": tmp_path, "env": environment(FINEFUSE_STORE=str(tmp_path / "store"))}
    options = ["--workers", "1"]
    with subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True, **where
    ) as run:
        assert run.stderr is not None
        while "plain" not in run.stderr.readline():
            assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        rest = run.stderr.read()
    assert run.returncode == 130
    assert rest.splitlines()[-1] == "interrupted: 2 of 3 rows are kept; the same command continues from there"
    assert "Traceback" not in rest
    plan = subprocess.run([*command[:3], "plan", *command[4:]], capture_output=True, text=True, **where)
    assert plan.stdout.startswith("clumsy: 3 jobs, 2 cached, 1 to run"), plan.stderr


def test_the_farewell_counts_rows() -> None:
    from finefuse.cli.run import farewell

    tally = Tally()
    tally.total, tally.done = 3, 3
    assert farewell(tally) == "interrupted: 3 of 3 rows are kept; the same command continues from there"
