"""The noise of runs in which nothing changed, and what a comparison makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from finefuse.errors import FinefuseError, StoreError
from finefuse.judge.compare import compare
from finefuse.judge.gate.calibration import NOISE, Calibration, Setting, known, write
from finefuse.repeat.calibrate import LEAST, calibrate, calibration, noise_of
from finefuse.types import Record

LINES, SIGMA = 6, 0.04


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of settings of one's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path / "settings"


def run(build: ModuleType, folder: Path, rng: np.random.Generator, slower: float = 1.0, **fields: Any) -> Path:
    """A run whose lines take 10 s and 10 ms, give or take the noise."""

    def about(usual: float) -> float:
        return float(usual * slower * np.exp(SIGMA / np.sqrt(2) * rng.standard_normal()))

    rows: list[Record] = []
    for line in range(LINES):
        own = {"label": f"line {line}", "threads": 1, **fields}
        rows.append(build.row(seconds=about(10), peak_memory=10**8, outputs="the same", **own))
        latencies = {f"latency.1.{name}": about(0.01) for name in ("p50", "p95")}
        rows.append(build.row("time", **own) | latencies | {"latency.1.within": float(rng.uniform(0.001, 0.02))})
    made: Path = build.write(folder, [_without_64(row) for row in rows], ())
    return made


def _without_64(row: Record) -> Record:
    return {name: value for name, value in row.items() if not name.startswith("latency.64")}


def pairs(build: ModuleType, folder: Path, count: int = 5, **fields: Any) -> list[tuple[Path, Path]]:
    rng = np.random.default_rng(0)
    runs: Iterator[Path] = (run(build, folder / str(i), rng, **fields) for i in range(2 * count))
    return [(next(runs), next(runs)) for _ in range(count)]


# ------------------------------------------------------------------------------------------------- the noise


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("count", [2, 5, 20])
def test_noise_is_seldom_told_too_small_whether_lines_move_together_or_not(together: bool, count: int) -> None:
    rng, found = np.random.default_rng(count), []
    for _ in range(300):
        moved = rng.normal(0, SIGMA, (count, 1 if together else 30)) * np.ones((count, 30))
        found.append(noise_of([{"train_s": row.tolist()} for row in moved])["train_s"])
    assert np.mean(np.array(found) >= SIGMA) > 0.86
    assert np.median(found) < {2: 4, 5: 2, 20: 1.4}[count] * SIGMA


def test_what_never_moved_has_some_noise_and_what_was_not_measured_none() -> None:
    assert noise_of([{"memory": [0.0, 0.0]}, {"memory": [0.0]}]) == {"memory": LEAST}
    assert noise_of([{}, {"latency": []}]) == {}


def test_a_machine_is_calibrated_by_runs_in_which_nothing_changed(build: ModuleType, tmp_path: Path) -> None:
    found = calibration(pairs(build, tmp_path, 8))
    assert found.setting == Setting("m1", "cpu", 1)
    assert (found.suite, found.pairs, found.compared, found.alarms) == ("demo", 8, 16, 0)
    assert found.noise["memory"] == LEAST
    for measure in ("train_s", "latency"):
        assert SIGMA < found.noise[measure] < 2 * SIGMA
        assert 3 * SIGMA < found.visible[measure] < 10 * SIGMA
    assert found.visible["memory"] < found.visible["train_s"]
    assert "noise = { train_s = 0.0" in found.paste()
    assert "0 of 16 comparisons raised a false alarm" in found.to_markdown()


def test_a_pair_that_the_others_do_not_foresee_is_a_false_alarm(build: ModuleType, tmp_path: Path) -> None:
    folders = pairs(build, tmp_path, 6)
    rng = np.random.default_rng(1)
    odd = run(build, tmp_path / "a", rng), run(build, tmp_path / "b", rng, slower=2.0)
    found = calibration([*folders, odd])
    assert found.alarms == 1  # in one direction it is an improvement
    assert found.noise["train_s"] > 5 * SIGMA  # and it counts


def test_what_was_taken_beside_other_work_is_left_out(build: ModuleType, tmp_path: Path) -> None:
    found = calibration(pairs(build, tmp_path, 2, contended=True))
    assert set(found.noise) == {"memory"}
    slowed = pairs(build, tmp_path / "no memory", 2, contended=True)
    for folder in [folder for pair in slowed for folder in pair]:
        text = (folder / "records.jsonl").read_text().replace('"peak_memory": 100000000', '"peak_memory": null')
        (folder / "records.jsonl").write_text(text)
    with pytest.raises(FinefuseError, match="that other work didn't slow"):
        calibration(slowed)


def test_runs_of_two_machines_tell_no_noise(build: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folders = [run(build, tmp_path / name, rng, machine=name) for name in ("m1", "m2")]
    with pytest.raises(FinefuseError, match="not of one machine"):
        calibration([(folders[0], folders[1])])


def test_one_pair_is_refused_before_anything_runs() -> None:
    with pytest.raises(FinefuseError, match="2 pairs or more, not 1"):
        calibrate("quick", pairs=1)


# ------------------------------------------------------------------------------------------------- what uses it


def calibrated(**fields: Any) -> Calibration:
    about = {"machine": "m1", "device": "cpu", "threads": 1, "suite": "demo", "pairs": 5, "alarms": 0, "compared": 10}
    noise = {"train_s": 0.03, "latency": 0.03, "memory": 0.01}
    when = "2026-12-01T00:00:00+00:00"
    return Calibration(**{**about, "noise": noise, "visible": {}, "when": when, **fields})


def slower(build: ModuleType, folder: Path, **fields: Any) -> tuple[Path, Path]:
    """A run, and one that is a third slower."""
    rng = np.random.default_rng(3)
    old = run(build, folder / "old", rng, **fields)
    return old, run(build, folder / "new", rng, slower=1.35, **fields)


def test_a_slowdown_that_the_assumed_noise_hides_is_seen_where_the_machine_is_known(
    build: ModuleType, tmp_path: Path
) -> None:
    folders = slower(build, tmp_path)
    before = compare(*folders)
    assert before.passed
    write(calibrated())
    found = compare(*folders)
    assert not found.passed
    assert {v.measure for v in found.verdicts if v.judgement == "regressed"} >= {"train_s", "latency.1.p50"}
    assert any("calibrated noise of runs 3 %" in verdict.reason for verdict in found.verdicts)
    (note,) = (note for note in found.notes if "calibrated" in note)
    assert note == (
        "The noise of runs on m1 is as calibrated with 5 pairs, 2026-12-01: train_s 3 %, latency 3 %, memory 1 %."
    )


@pytest.mark.parametrize("other", [{"machine": "m2"}, {"device": "cuda"}, {"threads": 2}])
def test_the_noise_of_another_machine_is_not_used(build: ModuleType, tmp_path: Path, other: Record) -> None:
    folders = slower(build, tmp_path)
    write(calibrated(**other))
    found = compare(*folders)
    assert found.passed
    assert found.notes == ()


def test_what_the_suite_or_the_caller_says_goes_before(build: ModuleType, tmp_path: Path) -> None:
    folders = slower(build, tmp_path)
    write(calibrated())
    found = compare(*folders, noise=NOISE)
    assert found.passed
    assert found.notes == ()
    part = compare(*folders, noise={"train_s": 0.2, "memory": 0.2})
    assert {v.measure for v in part.verdicts if v.judgement == "regressed"} == {"latency.1.p50", "latency.1.p95"}
    assert len(part.notes) == 1


def test_a_later_calibration_replaces_the_earlier_one(settings: Path) -> None:
    path = write(calibrated())
    assert path.is_relative_to(settings)
    assert write(later := calibrated(pairs=9)) == path
    row = {"machine": "m1", "device": "cpu:0", "threads": 1}
    assert known([row, row]) == {later.setting: later}


@pytest.mark.parametrize(
    "change",
    [
        ("0.03", "-0.03"),
        ("0.03", "NaN"),
        ('"train_s"', '"trains"'),
        ('"schema": 1', '"schema": 2'),
        ("{", "["),
        ('"noise"', '"nois"'),
    ],
)
def test_a_damaged_calibration_is_told_and_closes_the_gate(
    build: ModuleType, tmp_path: Path, change: tuple[str, str]
) -> None:
    path = write(calibrated())
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(StoreError, match=r"not a calibration of schema 1; delete it"):
        compare(*slower(build, tmp_path))


@pytest.mark.parametrize("later", ["0.02", "null"])
def test_how_well_a_latency_is_known_is_no_latency(build: ModuleType, tmp_path: Path, later: str) -> None:
    """It may be ten times what it was and mean nothing."""
    rng = np.random.default_rng(0)
    folders = [run(build, tmp_path / name, rng) for name in ("a", "b")]
    for folder, within in zip(folders, ("0.0005", later), strict=True):
        lines = (folder / "records.jsonl").read_text().splitlines()
        changed = [_with_within(line, within) for line in lines]
        (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in changed))
    found = compare(*folders)
    assert found.passed, found.failures
    assert {v.measure for v in found.lines if v.measure.startswith("latency")} == {"latency.1.p50", "latency.1.p95"}


def _with_within(line: str, within: str) -> str:
    return re.sub(r'"latency\.1\.within": [\d.e-]+', f'"latency.1.within": {within}', line)
