"""Without what only Unix has: the quick verbs work, and `local` says in one sentence that it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from finefuse.files import file_digest

TOYS = Path(__file__).parents[1] / "fixtures" / "toys.py"
WITHOUT_UNIX = """
import os, signal, sys
import psutil  # which has a way of its own for each system
sys.modules.update(dict.fromkeys(("fcntl", "resource", "pwd", "grp", "termios")))
for module, names in {
    os: ("setsid", "setpgid", "killpg", "fork", "pread", "pwrite", "sched_getaffinity"),
    signal: ("SIGKILL", "SIG_BLOCK", "pthread_sigmask"),
}.items():
    for name in names:
        delattr(module, name)
from finefuse.cli import main
main(sys.argv[1:])
"""


def call(at: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    own = {"PYTHONPATH": path, "XDG_CACHE_HOME": str(at / "cache"), "FINEFUSE_STORE": str(at / "store")}
    command = [sys.executable, "-c", WITHOUT_UNIX, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=at, env=os.environ | own)


@pytest.mark.parametrize(
    "verb",
    [
        ["list", "--plugin", str(TOYS)],
        ["plan", "toy", "--why", "--plugin", str(TOYS)],
        ["check", "toy", "--plugin", str(TOYS)],
        ["plan", "quick"],
        ["report", "results"],
        ["compare", "results", "results"],
    ],
    ids=" ".join,
)
def test_a_quick_verb_needs_no_unix(verb: list[str], results: Path) -> None:
    done = call(results.parent, *verb)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_local_says_what_it_needs_before_anything_is_written(tmp_path: Path) -> None:
    done = call(tmp_path, "run", "toy", "--plugin", str(TOYS), "--device", "cpu", "-q")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: executor 'local': needs the process groups of Unix; run with --executor serial, or with workers=0\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", [["--executor", "serial"], ["--workers", "0"]])
def test_the_way_that_it_names_works(way: list[str], tmp_path: Path) -> None:
    done = call(tmp_path, "run", "toy", "--plugin", str(TOYS), "--device", "cpu", "-q", *way)
    assert (done.returncode, done.stderr.splitlines()[-1][:8]) == (0, "written:"), done.stderr
    assert (tmp_path / "results" / "toy" / "records.jsonl").read_text().count('"status":"ok"') == 11


def test_caches_lie_where_the_system_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FINEFUSE_CACHE", raising=False)
    file = tmp_path / "file"
    file.write_text("x")
    os.utime(file, (0, 0))
    file_digest(file)
    assert user_cache_path("finefuse", appauthor=False) == tmp_path / "cache" / "finefuse"
    assert len(list((tmp_path / "cache" / "finefuse" / "data" / "digests").iterdir())) == 1
