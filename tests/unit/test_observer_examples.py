"""The observers under examples/observers: each small, each keeping the rules, each doing what its page says."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import Ref
from finefuse.discovery.registry import Registry
from finefuse.testing import check_observer
from finefuse.testing.observer_rules import ENDINGS, tell_run

FOLDER = Path(__file__).parents[2] / "examples" / "observers"
FILES = {"bar": "progress_bar.py", "costs-csv": "costs_csv.py", "mlflow-rows": "mlflow_rows.py"}
MOST = 40


def built(name: str, **parameters: Any) -> Any:
    return Registry([str(FOLDER / FILES[name])], entry_points=False).build("observer", Ref.of(name, **parameters))


def test_each_is_listed_and_under_40_lines() -> None:
    assert sorted(file.name for file in FOLDER.glob("*.py")) == sorted(FILES.values())
    page = (FOLDER / "README.md").read_text()
    for file in FILES.values():
        code = [line for line in (FOLDER / file).read_text().splitlines() if line.strip()]
        assert len(code) < MOST, file
        assert f"[{file}]({file})" in page


def test_a_bar_keeps_the_rules_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    check_observer(built("bar"))
    (task,) = tell_run(built("bar"), ENDINGS).progress.tasks
    assert (task.completed, task.total) == (len(ENDINGS), len(ENDINGS))


def test_a_csv_of_costs_has_a_line_for_each_job(tmp_path: Path) -> None:
    check_observer(built("costs-csv", file=str(tmp_path / "rules.csv")))
    tell_run(built("costs-csv", file=str(tmp_path / "costs.csv")), ["ok", "failed"])
    first, second = csv.DictReader((tmp_path / "costs.csv").read_text().splitlines())
    assert (first["status"], first["seconds"], first["steps"]) == ("ok", "1.5", "100")
    assert (second["status"], second["seconds"]) == ("failed", "")


def test_mlflow_gets_a_run_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for MLflow, whose runs examples/finefuse-mlflow is tested with where it is installed."""
    calls: list[tuple[Any, ...]] = []

    class Run:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            calls.append(("closed",))

    def start_run(**given: Any) -> Run:
        calls.append((given["run_name"], given.get("nested", False)))
        return Run()

    mlflow = ModuleType("mlflow")
    vars(mlflow).update(start_run=start_run, set_experiment=lambda name: None, end_run=lambda: calls.append(("ended",)))
    vars(mlflow)["log_metrics"] = lambda numbers: calls.append((numbers.get("test.share"),))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    tell_run(built("mlflow-rows"), ["ok", "failed"])
    cells = [f"tune/points/small-net/tuned//s{n}/m0/r0" for n in range(2)]
    assert calls == [
        ("small", False),
        (cells[0], True),
        (0.8,),
        ("closed",),
        (cells[1], True),
        (None,),
        ("closed",),
        ("ended",),
    ]
