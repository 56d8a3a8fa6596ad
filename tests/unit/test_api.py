"""The Python API, on the toys: what it hands on, what it gives back, and that a run goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import finefuse
from finefuse import Entry, FinefuseError, api, hookimpl
from finefuse.errors import PluginError, StoreError, SuiteError
from finefuse.progress import Progress
from finefuse.types import Job, Record

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOYS = str(FIXTURES / "toys.py")
TOY: dict[str, Any] = tomllib.loads((FIXTURES / "toys" / "toy.toml").read_text())


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINEFUSE_STORE", str(tmp_path / "store"))


def run(suite: Any = "toy", **options: Any) -> api.Run:
    return finefuse.run(suite, **{"plugins": TOYS, "device": "cpu", "workers": 0, "quiet": True, **options})


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the scheduler is asked for; nothing is run."""
    seen: dict[str, Any] = {}

    def run_plan(plan: Any, registry: Any, **options: Any) -> list[Record]:
        seen.update(options, plan=plan, registry=registry)
        return []

    monkeypatch.setattr(api, "run_plan", run_plan)
    monkeypatch.setattr(api, "_results", lambda folder, registry, refs: seen.update(reported=folder, reports=refs))
    return seen


# ------------------------------------------------------------------------------------------------- what is handed on


def test_the_functions_of_the_public_face_are_those_of_the_api() -> None:
    for name in ("check", "export", "plan", "run"):
        assert getattr(finefuse, name) is getattr(api, name)


def test_an_attribute_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'finefuse' has no attribute 'rnu'"):
        finefuse.rnu  # noqa: B018


def test_the_defaults(handed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "default_workers", lambda device, threads: 7)
    monkeypatch.setattr(api, "resolve_device", lambda device, portable: {"auto": "cpu"}[device])
    finefuse.run("toy", plugins=TOYS)
    assert type(handed["executor"]).__name__ == "Local"
    assert (handed["workers"], handed["device"], handed["retry"]) == (7, "cpu", False)
    assert (handed["out"], handed["reported"]) == (Path("results/toy"), Path("results/toy"))
    assert handed["store"] == tmp_path / "store"


def test_the_options(handed: dict[str, Any]) -> None:
    watcher = Progress()
    finefuse.run(
        "toy",
        plugins=[TOYS],
        device="cpu",
        workers=3,
        executor="serial",
        out="o",
        store="s",
        retry=True,
        watcher=watcher,
    )
    assert type(handed["executor"]).__name__ == "Serial"
    assert (handed["workers"], handed["out"], handed["store"]) == (3, Path("o"), Path("s"))
    assert handed["retry"] is True
    assert list(handed["observers"]._calls) == ["progress"]
    assert handed["observers"]._calls["progress"]["note"] == watcher.note


def test_workers_default_to_the_threads_of_the_suite(handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "default_workers", lambda device, threads: 100 + threads)
    finefuse.run({**TOY, "threads": 2}, plugins=TOYS, device="cpu")
    assert handed["workers"] == 102


class Observer:
    """A plugin that is an object."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def finefuse_job_done(self, job: Job, record: Record) -> None:
        self.seen.append(job.cell)


@pytest.mark.parametrize(
    ("options", "executor"),
    [
        ({"plugins": [TOYS, Observer()]}, "Serial"),  # an object can't be sent to other processes
        ({"plugins": [TOYS, Observer()], "executor": "local"}, "Local"),
        ({"workers": 0}, "Serial"),
        ({"workers": 1}, "Local"),
    ],
)
def test_the_executor_suits_the_plugins(handed: dict[str, Any], options: dict[str, Any], executor: str) -> None:
    finefuse.run("toy", **{"plugins": TOYS, "device": "cpu", **options})
    assert type(handed["executor"]).__name__ == executor


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": -1}, FinefuseError, "workers must be 0 or more, not -1"),
        ({"device": "gpu"}, FinefuseError, "unknown device 'gpu'"),
        ({"executor": "lokal"}, PluginError, "did you mean 'local'"),
        ({"only": "plian"}, SuiteError, "plian"),
        ({"plugins": "no/such/file.py"}, FinefuseError, "toy"),
        ({"suite": "tyo"}, FinefuseError, "did you mean 'toy'"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], error: type[FinefuseError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(**options)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- plan and check


def test_plan_gives_the_jobs() -> None:
    kinds = [job.kind for job in finefuse.plan("toy", plugins=TOYS, device="cpu").jobs]
    assert kinds.count("tune") == 6
    assert kinds.count("fuse") == 2
    assert kinds[0] == "pretrain"


@pytest.mark.parametrize("only", ["plain", ["plain"]])
def test_only_is_one_pattern_or_several(only: Any) -> None:
    jobs = finefuse.plan("toy", plugins=TOYS, device="cpu", only=only).jobs
    assert {job.kind for job in jobs} == {"pretrain", "tune"}


def test_check_gives_the_suite_or_the_mistake() -> None:
    suite = finefuse.check(TOY, plugins=TOYS)
    assert (suite.name, suite.seeds, suite.file) == ("toy", (0, 1), None)
    with pytest.raises(SuiteError, match="did you mean 'plain'"):
        finefuse.check({**TOY, "schemes": ["plian"]}, plugins=TOYS)


# ------------------------------------------------------------------------------------------------- a run


def test_a_run_gives_records_board_and_reports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = run()
    assert result.ok
    assert result.bad == []
    assert isinstance(result.records, pd.DataFrame)
    assert len(result.records) == 11
    assert set(result.records["status"]) == {"ok"}
    assert set(result.board.lines["strategy"]) == {"plain", "middle"}
    assert result._repr_markdown_() == result.board.to_markdown()
    assert result.folder == Path("results/toy")
    assert {path.suffix for path in result.written} == {".md", ".csv", ".json", ".html"}
    assert all(path.is_file() for path in result.written)
    assert capfd.readouterr() == ("", "")


def test_a_run_leaves_what_a_person_wrote_as_it_is() -> None:
    page = Path("results/toy/README.md")
    page.parent.mkdir(parents=True)
    page.write_text("# What this teaches\n")
    assert page not in run({**TOY, "seeds": [0]}).written
    assert page.read_text() == "# What this teaches\n"


def test_progress_is_shown_on_stderr_unless_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    run({**TOY, "seeds": [0]}, quiet=False)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "toy: 6 jobs, 0 kept, 6 to run"
    assert len(err.splitlines()) == 7


def test_a_broken_plugin_that_is_not_needed_is_told_and_stops_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    assert run({**TOY, "seeds": [0]}, plugins=[TOYS, "./broken.py"], quiet=False).ok
    first = capfd.readouterr().err.splitlines()[0]
    assert first.startswith(f"plugin {tmp_path / 'broken.py'} is broken: ")
    assert "ZeroDivisionError" in first


@pytest.mark.parametrize("suite", ["mine", {**TOY, "schemes": ["mine"]}])
def test_an_unknown_name_may_be_that_of_a_broken_plugin(suite: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(SuiteError) as caught:
        run(suite, plugins=[TOYS, "./broken.py"])
    told = f" (or a broken plugin may have it, {tmp_path / 'broken.py'}: see `finefuse plugins`)"
    assert str(caught.value).endswith(told)
    assert "ZeroDivisionError" not in str(caught.value)


def test_an_error_that_no_broken_plugin_can_have_caused_says_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(SuiteError) as caught:
        run({**TOY, "sedes": [0]}, plugins=[TOYS, "./broken.py"])
    assert "broken" not in str(caught.value)
    assert not hasattr(caught.value, "__notes__")


def test_a_second_run_has_nothing_to_do_and_gives_the_same_board() -> None:
    first = run()
    before = (first.folder / "records.jsonl").read_bytes()
    second = run()
    assert (second.folder / "records.jsonl").read_bytes() == before
    assert second.board.to_markdown() == first.board.to_markdown()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_with_nothing_to_do_needs_no_torch(workers: str) -> None:
    run()
    code = (
        "import sys; from finefuse.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert not {'torch._C', 'sklearn', 'torchmetrics'} & set(sys.modules)"
    )
    options = ["--plugin", TOYS, "--device", "cpu", "--workers", workers]
    done = subprocess.run([sys.executable, "-c", code, "run", "toy", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "toy: 11 jobs, 11 kept, 0 to run"


def test_a_run_with_failed_rows_is_not_ok_and_retry_runs_them_again() -> None:
    result = run("clumsy")
    assert not result.ok
    assert {row["label"]: row["status"] for row in result.bad} == {
        "clumsy": "failed",
        "": "blocked",  # the bounds of its pool
        "middle": "blocked",
    }
    assert {row["status"] for row in result.rows} == {"ok", "failed", "blocked", "skipped"}
    lines = len((result.folder / "records.jsonl").read_text().splitlines())
    assert not run("clumsy", retry=True).ok
    assert len((result.folder / "records.jsonl").read_text().splitlines()) == lines + 3


def test_an_observer_that_is_an_object_is_told_of_every_job() -> None:
    observer = Observer()
    result = run(plugins=[TOYS, observer], workers=None)
    assert sorted(observer.seen) == sorted(row["cell"] for row in result.rows)


def test_the_same_suite_as_name_path_and_dictionary() -> None:
    keys = [
        [job.key for job in finefuse.plan(suite, plugins=TOYS, device="cpu").jobs]
        for suite in ("toy", FIXTURES / "toys" / "toy.toml", str(FIXTURES / "toys" / "toy.toml"), TOY)
    ]
    assert all(other == keys[0] for other in keys)


# ------------------------------------------------------------------------------------------------- reports


@dataclass(frozen=True)
class Failing:
    def write(self, board: Any, folder: Path) -> list[Path]:
        raise OSError("no paper")


class Html:
    """A plugin with that reporter."""

    @hookimpl
    def finefuse_reporters(self) -> Any:
        yield Entry("html", Failing, "always fails")


def test_report_writes_all_reports_from_the_records_alone(results: Path) -> None:
    made = api.report(results)
    assert made.ok
    assert {path.name for path in made.written} == {path.name for path in results.iterdir()} - {"records.jsonl"}


def test_report_can_be_one(results: Path) -> None:
    assert [path.suffix for path in api.report(results, reporter="markdown").written] == [".md"]


def test_an_unknown_reporter_is_refused_with_a_suggestion(results: Path) -> None:
    with pytest.raises(PluginError, match="did you mean 'markdown'"):
        api.report(results, reporter="markdwon")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results here"):
        api.report(tmp_path)


def test_a_reporter_that_fails_costs_only_its_own_report(results: Path) -> None:
    made = api.report(results, plugins=Html())
    assert made.complaints == ("the reporter 'html' failed with OSError: no paper",)
    assert not made.ok
    assert {path.suffix for path in made.written} == {".md", ".csv", ".json", ".html"}


def test_a_reporter_that_clashes_is_a_complaint_once(results: Path) -> None:
    made = api.report(results, plugins=[Html(), Html()])
    (complaint,) = made.complaints
    assert "'html' is provided 2 times" in complaint


def test_report_of_a_corrupt_folder_changes_nothing(results: Path) -> None:
    file = results / "records.jsonl"
    file.write_text("{torn\n" + file.read_text())
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"records\.jsonl:1:"):
        api.report(results)
    assert file.read_bytes() == before
    assert json.loads(file.read_text().splitlines()[1])
