"""stdout is for results alone, whatever plugins print; and nothing that controls a terminal is printed or written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finefuse.cli import main
from finefuse.errors import FinefuseError
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.progress import Lines
from finefuse.records import why
from finefuse.text import plain, printable, single_line

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOYS, NOISY = str(FIXTURES / "toys.py"), str(FIXTURES / "plugins" / "noisy.py")
CONTROLS = ["\x1b[31m", *"\a\b\x01\x7f\x9b\u202e\u2066\u200f\ufeff\x0c\x85\u2028"]
HOSTILE = "".join(CONTROLS)


def finefuse(at: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    own = {"PYTHONPATH": path, "FINEFUSE_STORE": str(at / "store"), "XDG_CACHE_HOME": str(at / "cache")}
    command = [sys.executable, "-m", "finefuse", *arguments]
    return subprocess.run(command, text=True, cwd=at, env=os.environ | own, **{"capture_output": True} | more)


# ------------------------------------------------------------------------------------------------- what plugins print


def heard(text: str, *where: str) -> bool:
    """Whether everything that the noisy plugin prints is there, in every way it has."""
    return all(f"{way} {one}" in text for way in ("print", "write", "program", "dunder") for one in where)


def test_what_a_plugin_prints_when_it_is_imported_leaves_json_whole(tmp_path: Path) -> None:
    done = finefuse(tmp_path, "schema", "--plugin", NOISY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["type"] == "object"
    assert heard(done.stderr, "imported", "hook")


def test_what_a_reporter_prints_is_not_among_the_names_of_files(results: Path) -> None:
    done = finefuse(results.parent, "report", "results", "--plugin", NOISY)
    assert done.returncode == 0, done.stderr
    assert all(Path(results.parent, line).is_file() for line in done.stdout.splitlines())
    assert heard(done.stderr, "made", "writing")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_an_observer_prints_is_not_in_the_board(workers: str, tmp_path: Path) -> None:
    asked = ["run", "toy", "-q", "--device", "cpu", "--workers", workers, "--plugin", TOYS, "--plugin", NOISY]
    done = finefuse(tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "results" / "toy" / "leaderboard.md").read_text(encoding="utf-8")
    assert heard(done.stderr, "done")


def test_stdout_is_given_back(tmp_path: Path) -> None:
    code = (
        "import sys, os\nfrom finefuse.cli import main\nbefore = sys.stdout\n"
        "try: main(['schema'])\nexcept SystemExit: pass\n"
        "assert sys.stdout is before; print('mine'); os.write(1, b'raw')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.endswith("}\nmine\nraw") or done.stdout.endswith("}\nrawmine\n"), done.stderr


def test_a_reader_who_has_gone_is_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = finefuse(tmp_path, "list", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full disk")
@pytest.mark.parametrize("verb", [["list"], ["schema"], ["report", "results"], ["--version"], ["--help"]], ids=" ".join)
def test_a_stdout_that_is_full_is_a_sentence(verb: list[str], results: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = finefuse(results.parent, *verb, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == "error: the output can't be written: No space left on device.\n"


def test_verbs_print_in_no_other_way() -> None:
    verbs = sorted((FIXTURES.parents[1] / "benchmark" / "finefuse" / "cli").glob("*.py"))
    assert [path.name for path in verbs if re.search(r"\bprint\(", path.read_text())] == ["printing.py"]


# ------------------------------------------------------------------------------------------------- what controls


@pytest.mark.parametrize("sign", CONTROLS)
def test_what_controls_is_shown_as_an_escape(sign: str) -> None:
    for shown in (printable(f"a{sign}b"), single_line(f"a{sign}b")):
        assert shown.isprintable()
        assert (shown[0], shown[-1]) == ("a", "b")
        assert "\\" in shown
    assert plain(f"a{sign}b").isprintable()


def test_lines_tabs_and_letters_of_all_the_world_stay() -> None:
    text = "é ± 日本語 ↑\n\tא"
    assert printable(text) == text
    assert single_line("two\nlines  here") == "two lines  here"


def test_no_verb_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["list", "--plugin", NOISY],
        ["show", "loud", "--plugin", NOISY],
        ["check", f"no{HOSTILE}where"],
        ["list", "--plugin", f"no{HOSTILE}where.py"],
        ["plugins", "--traceback", "--plugin", f"no{HOSTILE}where.py"],
        ["report", f"no{HOSTILE}where"],
        ["compare", f"no{HOSTILE}where", "b"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        out, err = capsys.readouterr()
        own = [line for line in (out + err).splitlines() if not line.startswith(("print", "dunder"))]
        assert own
        assert [line for line in own if not line.isprintable()] == []


def test_progress_does_not_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(sys.stderr).note(f"failed: {HOSTILE}")
    assert capsys.readouterr().err.rstrip("\n").isprintable()


def test_boards_do_not_hold_it(fixture_module: Callable[[str], Any]) -> None:
    build = fixture_module("records_builder")
    rows = [build.row(label=f"s{HOSTILE}"), build.row("fuse", "soup", pool=HOSTILE, status="failed", reason=HOSTILE)]
    assert all(line.isprintable() for line in make_leaderboard(HOSTILE, rows).to_markdown().split("\n"))


# ------------------------------------------------------------------------------------------------- once


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"error": "RuntimeError", "reason": "RuntimeError: boom"}, "RuntimeError: boom"),
        ({"error": "RuntimeError", "reason": "boom"}, "RuntimeError: boom"),
        ({"error": "RuntimeError", "reason": ""}, "RuntimeError"),
        ({"error": None, "reason": "no ancestor"}, "no ancestor"),
        ({}, ""),
    ],
)
def test_the_type_of_an_error_is_told_once(row: dict[str, Any], told: str) -> None:
    assert why(row) == told


def test_a_store_that_can_not_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    for workers in ("0", "2"):
        done = finefuse(tmp_path, "run", "toy", "-q", "--device", "cpu", "--workers", workers, "--plugin", TOYS)
        assert (done.returncode, done.stdout) == (2, "")
        (sentence,) = done.stderr.splitlines()
        assert "store: the store can't be written to: Not a directory; set FINEFUSE_STORE." in sentence


def test_an_error_with_a_reason_of_several_lines_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FinefuseError("one\ntwo")

    monkeypatch.setattr("finefuse.api.plan", refuse)
    with pytest.raises(SystemExit):
        main(["plan", "quick"])
    assert capsys.readouterr().err == "error: one two\n"
