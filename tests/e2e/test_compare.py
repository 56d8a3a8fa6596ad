"""The gate for CI on real results: passes what is the same or better, and closes on everything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import finefuse

SUITE = """
name      = "gate"
seeds     = [0, 1]
budget    = { epochs = 30, batch_size = 16 }
datasets  = ["points"]
backbones = ["tiny"]
metrics   = ["accuracy", "nll"]
schemes   = ["full", { use = "moody", as = "moody", mood = "good" }]
fusions   = ["mean-probs"]
latency   = []
"""
MOODY = """
from dataclasses import dataclass
from typing import Literal

from finefuse import Entry, NotApplicable, hookimpl


@dataclass(frozen=True)
class Moody:
    mood: Literal["good", "bad", "absent", "broken", "mad"] = "good"

    def tune(self, on):
        if self.mood == "absent":
            raise NotApplicable("not today")
        if self.mood == "broken":
            raise ValueError("no good")
        on.trainer.fit(on.model, [{"params": on.model.parameters()}])
        if self.mood == "bad":
            on.model.head.weight.data.neg_()
        if self.mood == "mad":
            on.model.head.weight.data.fill_(float("nan"))


@hookimpl
def finefuse_schemes():
    yield Entry("moody", Moody)
"""
CELL = "tune/points/tiny/moody//s0/m0/r0"


@dataclass
class Gate:
    """A folder with results for every mood, each made when it is first asked for."""

    place: Any
    tiny: str

    def results(self, mood: str, only: str = "*") -> str:
        name = mood if only == "*" else f"{mood}-{only}"
        folder = self.place.folder
        if not (folder / name).exists():
            suite = self.place.write("gate.toml", SUITE.replace('"good"', f'"{mood}"'))
            doors, where = [self.tiny, str(folder / "moody.py")], {"out": folder / name, "store": folder / "store"}
            run = finefuse.run(suite, plugins=doors, device="cpu", workers=0, only=only, quiet=True, **where)
            assert run.ok == (mood not in ("broken", "mad"))
        return name

    def compare(self, base: object, new: object) -> Any:
        return self.place.call("compare", base, new)


@pytest.fixture(scope="module")
def gate(new_place: Callable[[], Any], tiny: str) -> Gate:
    place = new_place()
    place.write("moody.py", MOODY)
    return Gate(place, tiny)


def verdicts(text: str) -> dict[str, str]:
    """The judgement of every cell that is not unchanged."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return {row[1]: row[0] for row in rows if row[1].startswith(("tune/", "fuse/"))}


def test_the_same_passes(gate: Gate) -> None:
    outcome = gate.compare(gate.results("good"), gate.results("good"))
    assert outcome.code == 0, outcome.err
    title, same, counts, *_ = outcome.out.split("\n\n")
    assert (title, same) == (
        "# passed: good against good",
        "- Base and new are the same folder, so nothing was compared with anything else.",
    )
    assert counts.startswith("Cells: 6 unchanged. Lines: ")
    assert "|" not in outcome.out


@pytest.mark.parametrize(
    ("base", "new", "judgement", "code"),
    [
        ("good", "bad", "regressed", 1),
        ("bad", "good", "improved", 0),
        ("good", "broken", "failed", 1),
        ("good", "mad", "failed", 1),
        ("broken", "good", "new", 0),
    ],
)
def test_every_mood_has_its_verdict(gate: Gate, base: str, new: str, judgement: str, code: int) -> None:
    outcome = gate.compare(gate.results(base), gate.results(new))
    assert verdicts(outcome.out)[CELL] == judgement, outcome.out
    assert CELL.replace("moody", "full") not in verdicts(outcome.out)
    assert outcome.out.startswith(f"# {'FAILED' if code else 'passed'}: {new} against {base}\n")
    assert f"\nCells: 4 {judgement}, 2 unchanged. Lines: " in outcome.out
    assert outcome.code == code


def test_a_cell_that_is_no_longer_planned_is_missing(gate: Gate) -> None:
    outcome = gate.compare(gate.results("good"), gate.results("good", only="full"))
    assert outcome.code == 1
    assert verdicts(outcome.out)[CELL] == "missing"


def test_a_cell_that_is_new_passes(gate: Gate) -> None:
    outcome = gate.compare(gate.results("good", only="full"), gate.results("good"))
    assert outcome.code == 0
    assert verdicts(outcome.out)[CELL] == "new"


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    for file in folder.glob("*"):
        file.unlink()


def _corrupt(folder: Path) -> None:
    lines = (folder / "records.jsonl").read_text().splitlines()
    (folder / "records.jsonl").write_text("\n".join([lines[0][:50], *lines[1:]]) + "\n")


def _no_plan(folder: Path) -> None:
    (folder / "plan.json").write_text("[]")


@pytest.mark.parametrize("harm", [_gone, _empty, _corrupt, _no_plan])
@pytest.mark.parametrize("side", ["base", "new"])
def test_a_folder_that_cannot_be_read_closes_the_gate(gate: Gate, harm: Callable[[Path], None], side: str) -> None:
    good, harmed = gate.results("good"), gate.place.folder / "harmed"
    shutil.rmtree(harmed, ignore_errors=True)
    shutil.copytree(gate.place.folder / good, harmed)
    harm(harmed)
    outcome = gate.compare(*((harmed, good) if side == "base" else (good, harmed)))
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert "Traceback" not in outcome.err
