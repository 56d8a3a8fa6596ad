"""Nothing in the current folder is imported unless `--plugin` names it, whatever the files there are called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOYS = Path(__file__).parents[1] / "fixtures" / "toys.py"
NAMES = [
    *("copy", "csv", "dataclasses", "difflib", "enum", "inspect", "json", "logging", "pathlib", "pickle", "queue"),
    *("random", "re", "select", "shutil", "signal", "socket", "statistics", "string", "struct", "subprocess"),
    *("tempfile", "threading", "tomllib", "traceback", "typing", "uuid"),
    *("annotated_types", "finefuse_zoo", "numpy", "pandas", "pluggy", "psutil", "pydantic", "rich", "safetensors"),
    *("scipy", "sklearn", "tabulate", "torch", "torchmetrics", "typer", "typing_extensions"),
]
BEFORE = ("contextlib", "functools", "operator", "types", "warnings")
"""What Python imports before it starts a module by `-m`."""
MODULE = [sys.executable, "-m", "finefuse"]
SAFE = [sys.executable, "-P", "-m", "finefuse"]


def trap(folder: Path, *names: str) -> Path:
    """A folder full of files that leave a mark when they are executed; where they leave it."""
    marks = folder.parent / "marks"
    for name in names:
        text = f"open({str(marks)!r}, 'a').write('{name}\\n')\nraise ImportError('that of the current folder')\n"
        (folder / f"{name}.py").write_text(text)
    return marks


def call(at: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    own = {"PYTHONPATH": path, "FINEFUSE_STORE": str(at.parent / "store"), "XDG_CACHE_HOME": str(at.parent / "cache")}
    return subprocess.run(command, capture_output=True, text=True, cwd=at, env=os.environ | own)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("start", [MODULE, SAFE], ids=["as a module", "with -P"])
@pytest.mark.parametrize("verb", ["list", "plan toy --device cpu", "schema", "run toy -q --device cpu --workers 0"])
def test_the_driver_imports_nothing_of_it(start: list[str], verb: str, here: Path) -> None:
    marks = trap(here, *NAMES, *(BEFORE if start is SAFE else ()))
    done = call(here, *start, *verb.split(), "--plugin", str(TOYS))
    assert not marks.exists(), marks.read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("start", [MODULE, SAFE], ids=["as a module", "with -P"])
def test_workers_import_nothing_of_it(start: list[str], here: Path) -> None:
    marks = trap(here, *NAMES, *(BEFORE if start is SAFE else ()))
    done = call(here, *start, "run", "toy", "-q", "--device", "cpu", "--workers", "2", "--plugin", str(TOYS))
    assert not marks.exists(), marks.read_text()
    assert done.returncode == 0, done.stderr


def test_a_plugin_of_the_current_folder_has_its_helpers_and_hides_nothing(here: Path) -> None:
    marks = trap(here, "signal", "enum", "torch")
    (here / "my_helper.py").write_text("SUMMARY = 'said by a helper'\n")
    (here / "mine.py").write_text(
        "from dataclasses import dataclass\nimport my_helper, enum\nfrom finefuse import Entry, hookimpl\n"
        "@dataclass(frozen=True)\nclass Mine:\n    def tune(self, on):\n        pass\n"
        "@hookimpl\ndef finefuse_schemes():\n    yield Entry('mine', Mine, my_helper.SUMMARY)\n"
    )
    done = call(here, *MODULE, "list", "schemes", "--plugin", "mine.py")
    assert (done.returncode, marks.exists()) == (0, False), done.stderr
    assert "its helper 'enum' is hidden by" in done.stdout  # two of one name: the plugin is told, and not guessed at
    (here / "enum.py").unlink()
    done = call(here, *MODULE, "list", "schemes", "--plugin", "mine.py")
    assert "said by a helper" in done.stdout
    assert not marks.exists()


def test_a_program_that_imports_finefuse_keeps_its_folder(here: Path) -> None:
    (here / "beside.py").write_text("FOUND = True\n")
    (here / "program.py").write_text("import finefuse, beside\nprint(beside.FOUND)\n")
    for command in ([sys.executable, "program.py"], [sys.executable, "-m", "program"]):
        assert call(here, *command).stdout == "True\n"
