"""`pytest --finefuse SUITE --finefuse-baseline DIR`: each line of the board is a test, on made-up results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import api
from finefuse.errors import StoreError
from finefuse.judge.gate.sides import read_side
from finefuse.pytest_plugin.items import ALL, Wanted, _judging
from finefuse.types import Cell, Record
from helpers.gates import BASE, flip
from helpers.pytesting import self_registered
from helpers.runs import FIXTURES

pytest_plugins = ["pytester"]
SUITE = """
name = "demo"
seeds = [0, 1]
datasets = ["digits"]
backbones = ["cnn-s"]
schemes = ["full"]
fusions = ["soup"]
latency = [1, 64]
pools.runs = { of = ["full"], copies = 3 }
"""
LINES = ["digits/cnn-s/full", "digits/cnn-s/soup of runs"]
TIMES = [f"{line} latency.{batch}.p50" for line in LINES for batch in (1, 64)]
NAMES = [ALL, *LINES, *TIMES]
Change = Callable[[Record], Record | None]


@pytest.fixture(scope="module")
def rows(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """What a run of the suite would leave of its lines and their latencies."""
    file = tmp_path_factory.mktemp("suite") / "suite.toml"
    file.write_text(SUITE)
    places = [job.place for job in api.plan(file).jobs if job.kind in ("tune", "fuse", "time")]
    scored = build.scores(BASE)
    return [
        build.row(place.kind, place.label, pool=place.pool, seed=place.seed, member=place.member)
        | (scored if place.kind != "time" else {})
        for place in places
    ]


def keep(row: Record) -> Record:
    return row


def worse(row: Record) -> Record:
    """Of the soup 40 answers lost."""
    lost = {"correct": _bits(flip(40, 0)), "test.accuracy": 0.86, "outputs": "others"}
    return row | lost if row["kind"] == "fuse" else row


def _bits(right: Iterable[bool]) -> str:
    import base64

    import numpy as np

    return base64.b64encode(np.packbits(np.fromiter(right, bool)).tobytes()).decode()


@pytest.fixture
def ran() -> list[dict[str, Any]]:
    """The arguments of each run of the suite."""
    return []


@pytest.fixture
def session(
    pytester: pytest.Pytester,
    build: ModuleType,
    rows: list[Record],
    monkeypatch: pytest.MonkeyPatch,
    ran: list[dict[str, Any]],
) -> Callable[..., pytest.RunResult]:
    """A session in this process, of a run that leaves the base's rows after a change; these may be changed too."""

    def session(*options: str, change: Change = keep, base: Change = keep) -> pytest.RunResult:
        def run(suite: object, *, out: Path, **given: Any) -> None:
            ran.append({"suite": suite, "out": out, **given})
            build.write(out, filter(None, map(change, rows)), ())

        monkeypatch.setattr(api, "run", run)
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # with it, pytest-benchmark measures nothing
        build.write(pytester.path / "base", filter(None, map(base, rows)), ())
        (pytester.path / "suite.toml").write_text(SUITE)
        given = ("--finefuse", "suite.toml", "--finefuse-baseline", "base")
        return pytester.runpytest_inprocess(*self_registered(), "-p", "no:cacheprovider", *given, *options)

    return session


# --------------------------------------------------------------------------------------------------- the tests


def test_every_line_is_a_test_and_the_suite_runs_once(
    session: Callable[..., pytest.RunResult], pytester: pytest.Pytester, ran: list[dict[str, Any]]
) -> None:
    pytester.makepyfile("def test_of_others():\n    pass\n")
    result = session("-v", "--finefuse-workers", "3", "--finefuse-portable", "--finefuse-out", "out")
    result.assert_outcomes(passed=len(NAMES) + 1)
    result.stdout.fnmatch_lines([f"base/records.jsonl::{name} PASSED*" for name in NAMES])
    (one,) = ran
    assert one["suite"] == str(pytester.path / "suite.toml")
    assert one["out"] == pytester.path / "out"
    assert (one["workers"], one["portable"], list(one["reporters"])) == (3, True, [])


def test_a_line_fails_in_the_gates_own_words(session: Callable[..., pytest.RunResult]) -> None:
    result = session(change=worse)
    result.assert_outcomes(passed=len(NAMES) - 2, failed=2)  # its own test, and that of all cells together
    text = result.stdout.str()
    assert "digits/cnn-s/soup of runs: regressed: accuracy 0.9000 to 0.8600 (-0.0400): " in text
    assert "fuse/digits/cnn-s/soup/runs/s0/m0/r0: regressed: accuracy" in text
    assert "def judge" not in text


def test_tests_can_be_chosen_and_nothing_runs_for_what_is_not(
    session: Callable[..., pytest.RunResult], pytester: pytest.Pytester, ran: list[dict[str, Any]]
) -> None:
    pytester.makepyfile("def test_of_others():\n    pass\n")
    session("--collect-only", "-q").stdout.fnmatch_lines([*_ids(NAMES), "test_*::test_of_others"])
    session("-k", "of_others").assert_outcomes(passed=1, deselected=len(NAMES))
    assert ran == []
    session("-k", "soup and not latency", change=worse).assert_outcomes(failed=1, deselected=len(NAMES))
    session("-m", "finefuse", "--strict-markers").assert_outcomes(passed=len(NAMES), deselected=1)
    assert len(ran) == 2


def _ids(names: list[str]) -> list[str]:
    return [f"base/records.jsonl::{name}" for name in names]


def test_one_test_can_be_named(session: Callable[..., pytest.RunResult], ran: list[dict[str, Any]]) -> None:
    session(_ids(LINES)[0], change=worse).assert_outcomes(passed=1)
    assert len(ran) == 1


def test_a_line_that_does_not_apply_is_skipped(session: Callable[..., pytest.RunResult]) -> None:
    def skipped(row: Record) -> Record:
        return row | {"status": "skipped", "reason": "it has no weights"} if row["pool"] else row

    assert session(change=skipped).ret == pytest.ExitCode.TESTS_FAILED  # the base has these scores
    result = session("-rs", change=skipped, base=skipped)
    result.assert_outcomes(passed=4, skipped=3)
    text = result.stdout.str()
    assert "skipped in both: it has no weights" in text
    assert "latency.1.p50 was not measured" in text


# ------------------------------------------------------------------------------------- fails as the gate does


def without_soup(row: Record) -> Record | None:
    return None if row["pool"] else row


def another_torch(row: Record) -> Record:
    return row | {"parts": row["parts"] | {"torch": "9"}}


CHANGES: dict[str, Callable[[Record], Record | None]] = {
    "nothing": keep,
    "worse": worse,
    "a row is gone": lambda row: None if row["pool"] and row["seed"] else row,
    "a line is gone": without_soup,
    "a line failed": lambda row: row | {"status": "failed", "reason": "it broke"} if row["pool"] else row,
    "no latency": lambda row: row | {"status": "timeout"} if row["kind"] == "time" else row,
    "a slow latency": lambda row: row | {"latency.64.p50": 60.0} if row["kind"] == "time" else row,
    "twice the operations": lambda row: row | {"flops": 2_400_000} if row["kind"] == "fuse" else row,
    "another torch": another_torch,
    "a further line": lambda row: row | {"label": "new"} if row["seed"] and row["pool"] else row,
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_some_test_fails_exactly_if_the_gate_does(
    change: str, build: ModuleType, rows: list[Record], tmp_path: Path
) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE)
    base = [row | {"parts": row["parts"] | {"torch": "8"}} for row in rows]
    planned = [Cell.of(row) for row in base]
    old = build.write(tmp_path / "old", base, ())
    new = build.write(tmp_path / "new", filter(None, map(CHANGES[change], base)), planned)
    found = api.compare(old, new)
    wanted = Wanted.of(api.plan(suite), read_side(old), timed=True)
    failed = set()
    for name in [ALL, *dict.fromkeys(wanted.lines.values())]:
        try:
            _judging(wanted, name)(found)
        except pytest.fail.Exception:
            failed.add(name)
    assert bool(failed) == (not found.passed) == (change != "nothing")
    assert {wanted.line_of(verdict) for verdict in found.verdicts} <= {ALL, *wanted.lines.values()}


# --------------------------------------------------------------------------------------- what can't be done


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--finefuse", "quick"], "--finefuse needs --finefuse-baseline DIR, the results folder to compare with."),
        (["--finefuse-baseline", "base"], "options of finefuse are given, but no suite: --finefuse SUITE."),
        (["--finefuse-workers", "1"], "options of finefuse are given, but no suite: --finefuse SUITE."),
        (
            ["--finefuse", "quikc", "--finefuse-baseline", "base"],
            'no suite and no file is called "quikc"; did you mean *quick*?',
        ),
        (
            ["--finefuse", "quick", "--finefuse-baseline", "nowhere"],
            "*nowhere: no results here; expected records.jsonl*",
        ),
        (
            ["--finefuse", "quick", "--finefuse-baseline", "base", "--finefuse-workers=-1"],
            "*must be 0 or more, not -1.",
        ),
        (
            ["--finefuse", "quick", "--finefuse-baseline", "base", "--finefuse-out", "./base"],
            "--finefuse-out and --finefuse-baseline are the same folder, base.",
        ),
        (["--finefuse", "gate.toml", "--finefuse-baseline", "base"], "*gate.toml:*alpha*"),
    ],
)
def test_bad_options_are_one_sentence(
    options: list[str], said: str, pytester: pytest.Pytester, build: ModuleType, rows: list[Record]
) -> None:
    build.write(pytester.path / "base", rows, ())
    (pytester.path / "gate.toml").write_text(f"{SUITE}\n[gate]\nalpha = 7\n")
    result = pytester.runpytest_inprocess(*self_registered(), *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.outlines == []
    (line,) = filter(None, result.errlines)
    assert line.startswith("ERROR: ")
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_a_run_that_cannot_be_says_so_in_each_test(session: Callable[..., pytest.RunResult]) -> None:
    def refused(row: Record) -> Record:
        raise StoreError("the disk is full.")

    result = session("-k", "full", change=refused)
    result.assert_outcomes(errors=3, deselected=len(NAMES) - 3)
    assert "the disk is full." in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


# ------------------------------------------------------------------------------------------ beside other plugins


def test_latencies_are_benchmarks_that_can_be_compared(
    session: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    def slower(row: Record) -> Record:
        return row | {"latency.64.p50": 0.128} if row["kind"] == "time" else row

    session("--benchmark-json", "told.json", "--benchmark-save", "one").assert_outcomes(passed=len(NAMES))
    told = json.loads((pytester.path / "told.json").read_text())["benchmarks"]
    assert [(one["name"], one["group"]) for one in told] == [(name, name.split()[-1]) for name in TIMES]
    assert [one["stats"]["mean"] for one in told] == [0.001, 0.064] * 2
    compared = session("--benchmark-compare", "--benchmark-compare-fail", "mean:50%", change=slower)
    assert compared.ret != pytest.ExitCode.OK
    regressed = "*full latency.64.p50 (0001_one) - Field 'mean' has failed*"
    compared.stderr.fnmatch_lines(["*Performance has regressed:*", regressed])


def test_without_pytest_benchmark_latencies_are_judged_all_the_same(session: Callable[..., pytest.RunResult]) -> None:
    session("-p", "no:benchmark").assert_outcomes(passed=3)


@pytest.mark.slow
def test_of_several_processes_one_runs_the_suite(
    pytester: pytest.Pytester, build: ModuleType, rows: list[Record]
) -> None:
    build.write(pytester.path / "base", rows, ())
    build.write(pytester.path / "made", rows, ())
    (pytester.path / "suite.toml").write_text(SUITE)
    pytester.makeconftest(
        """
        import shutil
        from finefuse import api

        def run(suite, *, out, **given):
            with open("log", "a") as log:
                log.write("ran\\n")
            shutil.copytree("made", out)

        api.run = run
        """
    )
    given = ("--finefuse", "suite.toml", "--finefuse-baseline", "base", "-n", "2", "-p", "no:benchmark")
    pytester.runpytest_subprocess(*self_registered(), *given).assert_outcomes(passed=3)
    assert (pytester.path / "log").read_text() == "ran\n"


@pytest.mark.slow
def test_a_suite_that_is_really_run(pytester: pytest.Pytester) -> None:
    suite = FIXTURES / "suites" / "tiny.toml"
    plugin = str(FIXTURES / "plugins" / "tiny.py")
    api.run(suite, plugins=plugin, out=pytester.path / "base", store=pytester.path / "store", reporters=(), quiet=True)
    given = ("--finefuse", str(suite), "--finefuse-baseline", "base", "--finefuse-plugin", plugin, "-n", "1")
    result = pytester.runpytest_subprocess(*self_registered(), *given)
    lines = len(
        set(Wanted.of(api.plan(suite, plugins=plugin), read_side(pytester.path / "base"), timed=True).lines.values())
    )
    assert result.ret == 0, result.stdout.str()
    assert result.parseoutcomes()["passed"] > lines > 10


def test_a_session_that_does_not_use_it_imports_nothing_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    program = (
        "import pytest, sys; before = set(sys.modules); import finefuse.pytest_plugin;"
        "print(*sorted(set(sys.modules) - before));"
        "pytest.main(['-p', 'finefuse.pytest_plugin', '-p', 'no:cacheprovider', '-q']);"
        "print(*sorted({'finefuse.api', 'finefuse.types', 'numpy', 'pandas', 'pydantic', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *shown, last = done.stdout.splitlines()
    assert first.split() == ["finefuse", "finefuse.pytest_plugin", "finefuse.version"]
    assert any("1 passed" in line for line in shown)
    assert last == ""
