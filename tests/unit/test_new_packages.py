"""Each package that `finefuse new` writes: installed, its own test run, and all of them used in one run of a suite."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import finefuse
from finefuse.cli.new import Kind, render, write
from finefuse.discovery.registry import Registry

KINDS = [kind.value for kind in Kind]
ALONE = ["-W", "error", *(f"-pno:{plugin}" for plugin in ("xdist", "timeout", "cacheprovider", "benchmark"))]
"""Options of a session inside this one: without what there can be only one of in a process."""
SUITE: dict[str, Any] = {
    "name": "mine",
    "seeds": [0],
    "budget": {"epochs": 1},
    "datasets": ["my-dataset"],
    "backbones": ["my-backbone"],
    "metrics": ["my-metric"],
    "schemes": ["my-scheme"],
    "fusions": ["my-fusion"],
    "pools": {"all": {"of": ["my-scheme"], "copies": 2}},
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """No module of a package stays."""
    yield
    for name in [name for name in sys.modules if name.startswith(("finefuse_my_", "test_my_"))]:
        del sys.modules[name]


def written(folder: Path, kind: str) -> Path:
    place = folder / f"finefuse-my-{kind}"
    write(place, render(kind, f"my-{kind}"))
    return place


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the modules and the entry points of all, as an installer would put them there."""
    site = tmp_path / "site"
    for kind in KINDS:
        source = written(tmp_path, kind)
        project = tomllib.loads((source / "pyproject.toml").read_text())
        info = site / f"finefuse_my_{kind}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: finefuse-my-{kind}\nVersion: 0.1.0\n")
        points = project["project"]["entry-points"]["finefuse"].items()
        (info / "entry_points.txt").write_text("[finefuse]\n" + "\n".join(f"{k} = {v}" for k, v in points) + "\n")
        for file in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
            (site / file).write_bytes((source / file).read_bytes())
    monkeypatch.syspath_prepend(site)
    return site


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_its_own_test_passes_at_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path, kind)
    monkeypatch.syspath_prepend(folder)
    assert pytest.main(["--rootdir", str(folder), *ALONE, str(folder)]) == pytest.ExitCode.OK


def test_all_are_used_in_one_run(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {info.name: info.status for info in Registry().plugins()}
    assert {f"finefuse_my_{kind}": "ok" for kind in KINDS}.items() <= names.items()
    assert finefuse.check("my-suite").name == "my-suite"
    run = finefuse.run(
        SUITE,
        out=tmp_path / "results",
        store=tmp_path / "store",
        executor="my-executor",
        reporters=["my-reporter"],
        observers=["my-observer"],
        device="cpu",
    )
    assert set(run.records["status"]) == {"ok"}
    assert (tmp_path / "results" / "my-reporter.html").read_text().startswith("<title>mine</title>")
    assert (tmp_path / "my-observer.txt").read_text().endswith(" rows\n")
    assert sorted(run.board.lines["label"]) == ["my-fusion", "my-scheme"]
    assert "test.my-metric.mean" in run.board.lines


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_installed(kind: str, tmp_path: Path) -> None:
    folder, target = written(tmp_path, kind), tmp_path / "target"
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (target / f"finefuse_my_{kind}.py").is_file()
    assert (target / f"my-{kind}.toml").is_file() == (kind == "suite")
