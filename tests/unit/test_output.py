"""What a job prints, kept beside the records."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.engine.work import output
from finefuse.engine.work.attempt import attempt
from finefuse.engine.work.output import kept_output
from finefuse.judge.merging import merge, write
from finefuse.judge.page import LINES, page
from finefuse.judge.shown import show
from finefuse.records import log_of
from finefuse.types import Record


def test_what_python_prints_is_kept_and_still_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "a.txt"
    before = sys.stdout, sys.stderr
    with kept_output(str(log)):
        print("to stdout")
        print("to stderr, ä", file=sys.stderr)
        sys.stdout.writelines(["one\n", "two\n"])
        assert sys.stdout.encoding == before[0].encoding
        sys.stdout.flush()
        with pytest.raises(TypeError, match="str"):
            sys.stdout.write(5)  # type: ignore[arg-type]
    assert (sys.stdout, sys.stderr) == before
    assert log.read_text(encoding="utf-8") == "to stdout\nto stderr, ä\none\ntwo\n"
    assert capsys.readouterr() == ("to stdout\none\ntwo\n", "to stderr, ä\n")


def test_a_silent_job_leaves_none_and_removes_that_of_an_earlier_attempt(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.txt"
    with kept_output(str(log)):
        pass
    assert not log.parent.exists()
    for text in ("first", "second"):
        with kept_output(str(log)):
            print(text)
        assert log.read_text() == f"{text}\n"
    with kept_output(str(log)):
        pass
    assert not log.exists()


def test_what_outlives_a_job_writes_to_no_log_any_more(tmp_path: Path) -> None:
    with kept_output(str(tmp_path / "a.txt")):
        kept = sys.stdout
        print("of the first")
    with kept_output(str(tmp_path / "b.txt")):
        print("of the second", file=kept)
    assert (tmp_path / "a.txt").read_text() == "of the first\n"


def test_a_single_text_that_is_too_long_is_said_to_be_cut(tmp_path: Path) -> None:
    with kept_output(str(tmp_path / "a.txt")):
        print("x" * 3 * output.MOST)
    assert (tmp_path / "a.txt").read_bytes().startswith(output.CUT)


def test_a_log_keeps_its_end_and_stays_small(tmp_path: Path) -> None:
    log, largest = tmp_path / "a.txt", 0
    with kept_output(str(log)):
        for number in range(5000):
            print(f"line {number} {'x' * 50}")
            largest = max(largest, log.stat().st_size)
        print("y" * 10 * output.MOST)
    assert largest <= output.MOST + 100
    assert log.stat().st_size <= output.MOST
    with kept_output(str(log)):
        for number in range(5000):
            print(f"line {number} {'x' * 50}")
    text = log.read_text()
    assert text.startswith(output.CUT.decode())
    assert text.endswith(f"line 4999 {'x' * 50}\n")


PROGRAM = """
import logging, os, signal, sys, warnings
from finefuse.engine.work.output import kept_output
with kept_output(sys.argv[1]):
    logging.getLogger("a plugin").warning("logged")
    warnings.warn("warned")
    os.closerange(3, 100)
    os.chdir("/")
    print("after")
    sys.stdout.reconfigure(line_buffering=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_that_closes_what_is_open_and_is_killed_still_has_its_log(tmp_path: Path) -> None:
    log = tmp_path / "a.txt"
    done = subprocess.run([sys.executable, "-c", PROGRAM, log], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert re.fullmatch(r"logged\n.*UserWarning: warned\n.*after\n", log.read_text(), re.DOTALL)


def test_a_log_that_can_not_be_written_is_told_and_costs_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file")
    log = tmp_path / "logs" / "a.txt"
    with kept_output(str(log)):
        print("one")
        print("two")
    printed = capsys.readouterr()
    assert printed.out == "one\ntwo\n"
    assert printed.err.startswith(f"{log}: what the job prints can't be kept: ")
    assert printed.err.count("\n") == 1


def test_without_a_stream_there_is_nothing_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with kept_output(str(tmp_path / "a.txt")):
        print("nowhere")
        print("here", file=sys.stderr)
    assert (tmp_path / "a.txt").read_text() == "here\n"
    with kept_output(""):
        assert not isinstance(sys.stderr, output._Both)


def test_a_job_that_raises_has_its_log_too(fake: ModuleType, tmp_path: Path) -> None:
    def carry_out(_: object) -> Record:
        print("on the way")
        raise ValueError("no")

    todo = fake.order(fake.job("a"), tmp_path)
    log = tmp_path / "a.txt"
    assert attempt(type(todo)(**{**todo.__dict__, "log": str(log)}), carry_out)["status"] == "failed"
    assert log.read_text() == "on the way\n"


def test_the_driver_names_a_file_for_every_job(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fake.run(fake.plan(fake.job("a", "prints"), fake.job("b")), Path())
    assert [path.name for path in Path("out", "logs").iterdir()] == ["key-a.txt"]
    assert Path("out", log_of("key-a")).read_text() == "said 0\n"


def test_show_has_the_end_of_it_cleaned_and_json_the_whole(build: ModuleType, tmp_path: Path) -> None:
    rows = [build.row(seed=0, key="a"), build.row(seed=1, key="b", status="failed")]
    build.write(tmp_path / "a", rows[:1])
    build.write(tmp_path / "b", rows[1:])
    texts = {"a": "\x1b[2J10 %\r20 %\r\n\n30 %\n", "b": "".join(f"line {i}\n" for i in range(100)) + "z" * 999}
    for name, text in texts.items():
        log = tmp_path / name / log_of(name)
        log.parent.mkdir()
        log.write_bytes(text.encode())
    write(merge([tmp_path / "a", tmp_path / "b"]), tmp_path / "c")
    shown = show(tmp_path / "c", "full", {})
    told = page(shown)
    assert "## Printed by the job, seed 0\n\n\\x1b[2J10 %\n20 %\n30 %\n\n" in told
    last = told.partition("## Printed by the job, seed 1\n\n")[2].partition("\n\n")[0].splitlines()
    assert last[0] == f"... the last {LINES} of 101 lines:"
    assert (last[-2], last[-1]) == ("line 99", f"{'z' * 240}...")
    assert json.loads(json.dumps(shown.to_json()))["logs"] == texts


def test_logs_lead_nowhere_else(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    build.write(tmp_path / "a", [build.row(key="../secret")])
    build.write(tmp_path / "b", [build.row(seed=1, key="x")])
    (tmp_path / "b" / "logs").mkdir()
    (tmp_path / "b" / "logs" / "x.txt").symlink_to(tmp_path / "secret.txt")
    assert show(tmp_path / "a", "full", {}).logs == {}
    write(merge([tmp_path / "a", tmp_path / "b"]), tmp_path / "c")
    assert not (tmp_path / "c" / "logs").exists()
