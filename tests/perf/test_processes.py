"""Whole commands, timed: pytest -m perf --benchmark-enable -n 0 tests/perf. The figures come from studies/perf."""

from __future__ import annotations

import sys

import pytest
from contests import fusing, judging, plain_cell, processes
from contests.processes import FINEFUSE, cost_of

pytestmark = pytest.mark.perf


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The suite `quick` but latency, carried out: its file, results and store."""
    folder = tmp_path_factory.mktemp("quick")
    place = processes.variant(folder, "latency = []"), folder / "out", folder / "store"
    cost_of(processes.run(*place, workers=2))
    return place


@pytest.fixture
def timed(benchmark):
    """Times a command as a whole process."""

    def time(command, environment=None, rounds=3):
        benchmark.pedantic(cost_of, (command, environment), rounds=rounds, warmup_rounds=1)

    return time


@pytest.mark.parametrize("verb", [["--help"], ["list"], ["plan", "quick", "--device", "cpu", "--out", "nowhere"]])
def test_quick_verbs(timed, verb):
    command = [*FINEFUSE, *verb]
    timed(command)
    assert not processes.imports_torch(command)


def test_a_run_with_nothing_left_to_do(timed, quick):
    command = processes.run(*quick, workers=1)
    timed(command)
    assert not processes.imports_torch(command)


@pytest.mark.parametrize("count", [0, 1000])
def test_list_among_many_distributions(timed, tmp_path, count):
    timed([*FINEFUSE, "list"], {"PYTHONPATH": str(processes.many_distributions(tmp_path, count))})


def test_plan_of_100_000_cells(timed, tmp_path):
    suite = processes.large_suite(tmp_path, 100_000)
    timed([*FINEFUSE, "plan", str(suite), "--device", "cpu", "--out", str(tmp_path / "out")], rounds=1)


def test_reports_of_100_000_records(timed, tmp_path, fixture_module):
    folder = processes.large_results(tmp_path, 100_000, fixture_module("records_builder"))
    timed([*FINEFUSE, "report", str(folder)], rounds=1)
    assert (folder / "leaderboard.md").stat().st_size > 100_000


def test_markdown_of_100_000_records(benchmark, tmp_path, fixture_module):
    folder = processes.large_results(tmp_path, 100_000, fixture_module("records_builder"))
    benchmark.pedantic(judging.to_markdown, (folder,), rounds=1)


def test_the_large_suite_has_as_many_cells_as_it_says(tmp_path):
    import finefuse

    assert 900 <= len(finefuse.plan(processes.large_suite(tmp_path, 1000), device="cpu").jobs) <= 1100


@pytest.mark.parametrize("cell", [["full"], ["head-sgd"], ["greedy-soup", "same-scheme"]], ids=" ".join)
def test_plain_scripts(timed, quick, tmp_path, cell):
    _, out, store = quick
    weights = processes.pretrained(out, store, tmp_path)["cnn-s"]
    timed([sys.executable, plain_cell.__file__, "cnn-s", str(weights), "0", *cell], rounds=1)


@pytest.mark.parametrize(("workers", "threads"), [(2, 1), (1, 2)])
def test_workers_against_threads(benchmark, tmp_path, workers, threads):
    suite = processes.variant(tmp_path, f"latency = []\nthreads = {threads}")
    command = processes.run(suite, tmp_path / "out", tmp_path / "store", workers)
    benchmark.pedantic(cost_of, (command,), rounds=1)


def test_averaging_takes_one_copy_and_a_little(benchmark):
    pytest.importorskip("torchvision")
    benchmark.pedantic(cost_of, ([sys.executable, fusing.__file__],), rounds=1)


def test_a_command_that_fails_is_no_measurement():
    with pytest.raises(RuntimeError, match="ended with 2"):
        cost_of([*FINEFUSE, "run", "no-such-suite"])
