"""Verify, calibrate and matrix from the command line, in processes of their own; nothing is downloaded."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOYS = str(Path(__file__).parents[1] / "fixtures" / "toys.py")
OTHER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""Instruction sets that no machine prefers: to the keys it is another kind."""


@pytest.fixture(scope="module")
def made(new_place: Callable[[], Any]) -> Any:
    """A folder with the results of the toys."""
    place = new_place()
    run = place.run("run", "toy", "--plugin", TOYS, "--device", "cpu", "--out", "toy", "-q")
    assert run.code == 0, run.err
    return place


@pytest.mark.slow
def test_results_are_verified_here_and_on_another_kind_of_machine_and_forged_ones_nowhere(made: Any) -> None:
    words = ("verify", "toy", "--sample", 99, "--plugin", TOYS, "-q", "--json")
    own = made.run(*words, "--by", "Jane Doe")
    assert own.code == 0, own.err
    assert {one["found"] for one in json.loads(own.out)["checked"]} == {"same"}
    assert (
        "Verified: 6 of 6 cells were run again with the same bits, by Jane Doe"
        in made.run("report", "toy", "--print").out
    )

    other = made.run(*words, env=OTHER)
    assert other.code == 0, other.out
    told = json.loads(other.out)
    assert told["environment"]["instruction set of torch"] == "none"
    assert {one["found"] for one in told["checked"]} <= {"same", "close"}

    records = made.folder / "toy" / "records.jsonl"
    records.write_text(
        "".join(f"{json.dumps(_better(json.loads(line)))}\n" for line in records.read_text().splitlines())
    )
    assert "Verified" not in made.run("report", "toy", "--print").out
    for env in ({}, OTHER):
        forged = made.run(*words, env=env)
        assert forged.code == 1, forged.out
        wrong = [one for one in json.loads(forged.out)["checked"] if one["found"] == "different"]
        assert [("middle" in one["cell"], "/s0/" in one["cell"]) for one in wrong] == [(True, True)]


def _better(row: dict[str, Any]) -> dict[str, Any]:
    """The fusion of one seed with every answer right, in keeping with its bits."""
    if row["kind"] != "fuse" or row["seed"]:
        return row
    right = np.packbits(np.ones(row["n_test"], bool))
    return row | {"correct": base64.b64encode(right.tobytes()).decode(), "test.hits": 1.0}


@pytest.mark.slow
def test_this_machine_is_calibrated_and_comparisons_say_so(made: Any) -> None:
    settings = {"XDG_CONFIG_HOME": str(made.folder / "settings")}
    found = made.run("calibrate", "toy", "--pairs", 2, "--plugin", TOYS, "--device", "cpu", env=settings)
    assert found.code == 0, found.err
    assert found.err.splitlines()[:4] == [f"run {number} of 4" for number in range(1, 5)]
    assert "of 4 comparisons raised a false alarm" in found.out
    assert "[gate]\nnoise = {" in found.out
    (file,) = (made.folder / "settings" / "finefuse" / "noise").iterdir()
    assert json.loads(file.read_text())["pairs"] == 2
    again = made.run("run", "toy", "--plugin", TOYS, "--device", "cpu", "--out", "again", "--store", "other", "-q")
    assert again.code == 0, again.err
    assert "as calibrated with 2 pairs" in made.run("compare", "again", "again", env=settings).out
    assert (
        "calibrated" not in made.run("compare", "again", "again", env={"XDG_CONFIG_HOME": str(made.folder / "no")}).out
    )


PLUGIN = """
import tinydep
from dataclasses import dataclass
from finefuse import Entry, hookimpl

@dataclass(frozen=True)
class Depends:
    def tune(self, on):
        if tinydep.LR:
            on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": tinydep.LR}])

@hookimpl
def finefuse_schemes():
    yield Entry("depends", Depends, "tunes at the rate of another package", requires=("tinydep",))
"""
SUITE = """
name = "depends"
seeds = [0, 1]
datasets = [{ use = "blobs", spread = 0.5 }]
backbones = ["mlp"]
metrics = ["hits"]
schemes = ["depends"]
budget = { epochs = 8 }
checkpoints = 0
latency = []
"""


def wheel(folder: Path, version: str, rate: float) -> Path:
    """A package of one module, as pip installs it without building anything."""
    path = folder / f"tinydep-{version}-py3-none-any.whl"
    info = f"tinydep-{version}.dist-info"
    files = {
        "tinydep/__init__.py": f"LR = {rate}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return path


@pytest.mark.slow
def test_the_version_of_a_dependency_that_regresses_is_named(place: Any) -> None:
    place.write("plugin.py", PLUGIN)
    suite = place.write("suite.toml", SUITE)
    versions = [("1.0", 0.01), ("1.1", 0.011), ("2.0", 0), ("2.1", 0.01)]
    given = [word for version, rate in versions for word in ("--with", wheel(place.folder, version, rate))]
    words = ("matrix", suite, *given, "--device", "cpu", "--plugin", TOYS, "--plugin", "plugin.py", "--out", "out")
    env = {"FINEFUSE_CACHE": str(place.folder / "cache")}
    found = place.run(*words, "--json", env=env)
    assert found.code == 1, found.err
    told = json.loads(found.out)
    assert [one["passed"] for one in told["versions"]] == [True, True, False, True], told
    assert "tinydep-2.0" in told["first_regressed"]
    assert len(list((place.folder / "cache" / "environments").glob("*/made.json"))) == 4
