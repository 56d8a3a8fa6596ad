"""The packages that `finefuse plugins --available` lists are those of docs/known-plugins.md, and exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from finefuse.cli.plugins import known
from helpers.calling import call

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "known-plugins.md").read_text(encoding="utf-8")


def test_the_page_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\(.+?\) \| (.+?) \| (.+?) \| `(.+?)` \|$", PAGE, flags=re.MULTILINE)
    assert rows == known()


@pytest.mark.parametrize("name", [name for name, *_ in known() if (ROOT / "examples" / name).is_dir()])
def test_a_package_of_this_repository_is_called_so_has_an_entry_point_and_tests(name: str) -> None:
    folder = ROOT / "examples" / name
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == name
    assert project["entry-points"]["finefuse"]
    assert list(folder.rglob("test_*.py"))
    assert f"pip install ./examples/{name}" in {one[0]: one[-1] for one in known()}[name]


def test_every_package_under_examples_is_listed_and_its_tests_are_collected() -> None:
    packages = {file.parent.name for file in (ROOT / "examples").glob("*/pyproject.toml")}
    assert packages == {name for name, *_ in known()}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    assert packages <= {path.name for pattern in patterns for path in ROOT.glob(pattern)}


def test_they_are_listed_with_how_to_install_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "finefuse_gentle-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: finefuse-gentle\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[finefuse]\ngentle = finefuse_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = call(capsys, "plugins", "--available")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["package", "provides", "what", "it", "has", "how", "to", "install", "it"]
    assert lines[1].endswith("  installed")
    assert lines[2].endswith("  pip install ./examples/finefuse-opinion-pool")
