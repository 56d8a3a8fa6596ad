"""Portable suites: which may be, what their keys rest on, and that their jobs run pinned or not at all."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import api, processor
from finefuse.cli import main
from finefuse.declare import keys
from finefuse.declare.keys import environment, explain
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.engine.work.attempt import attempt
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.processor import PINNED, Processor
from finefuse.rows import wrong_with
from finefuse.types import Crew, Settings
from finefuse_zoo.executors.local import Local
from helpers.boards import runs
from helpers.planning import pick, planned
from helpers.processors import M1, NEW, OLD, XEON
from helpers.suites import HEAD, LEAST, complaint

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOYS = str(FIXTURES / "toys.py")
TOY: dict[str, Any] = tomllib.loads((FIXTURES / "toys" / "toy.toml").read_text())


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Processor], None]:
    """Plan on another machine from here on, with nothing in its environment."""
    for name in (*PINNED, *processor.OTHERS):
        monkeypatch.delenv(name, raising=False)
    return lambda of: monkeypatch.setattr(keys, "processor", lambda: of)


def addresses(registry: Registry, **changes: Any) -> list[tuple[str, str]]:
    return [(job.artifact, job.key) for job in planned(registry, **changes).jobs]


# --------------------------------------------------------------------------------------------------------- keys


def test_two_machines_of_one_name_share_no_key_and_why_says_what_differs(on, registry: Registry) -> None:
    on(OLD)
    old, before = addresses(registry), pick(planned(registry), "tune", "full")
    on(NEW)
    new, after = addresses(registry), pick(planned(registry), "tune", "full")
    assert not {one for pair in old for one in pair} & {one for pair in new for one in pair}
    assert explain(dict(before.parts), dict(after.parts)) == (
        "instruction set of torch was AVX2 and is AVX-512; instruction set of oneDNN was AVX2 and is AVX-512; "
        "pretrained backbone changed"
    )


def test_the_name_of_a_processor_changes_no_key(on, registry: Registry) -> None:
    on(OLD)
    old = addresses(registry)
    on(replace(OLD, name="AMD EPYC 7B13"))
    assert addresses(registry) == old


def test_portable_keys_are_those_of_every_machine_with_such_a_vendor(on, registry: Registry) -> None:
    on(OLD)
    old = addresses(registry, portable=True)
    assert old != addresses(registry)
    on(NEW)
    assert addresses(registry, portable=True) == old
    on(XEON)
    assert addresses(registry, portable=True) != old


def test_a_machine_that_is_pinned_by_its_user_has_portable_keys(on, registry, monkeypatch) -> None:
    on(NEW)
    portable = addresses(registry, portable=True)
    for name, value in PINNED.items():
        monkeypatch.setenv(name, value)
    assert addresses(registry) == portable
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")
    assert addresses(registry, portable=True) != portable


def test_the_models_of_gpus_are_part_of_the_keys_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "gpu_models", lambda: ["NVIDIA H100", "NVIDIA T4"])
    assert environment("cuda:1", Settings())["GPU"] == "NVIDIA H100, NVIDIA T4"
    assert "GPU" not in environment("cpu", Settings())
    monkeypatch.setattr(keys, "gpu_models", list)
    assert environment("cuda", Settings())["GPU"] == "unknown"


# -------------------------------------------------------------------------------------------- which suites may be


def test_a_suite_says_it_or_whoever_reads_it(registry: Registry) -> None:
    assert not load_suite(LEAST, registry).settings.portable
    assert load_suite({**LEAST, "portable": True}, registry).settings.portable
    assert load_suite(LEAST, registry, portable=True).settings.portable


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('precision = "bf16"', 's.toml:5: precision: must be "fp32" for portable results: with "bf16" the bits'),
        ('threads = 1\ncompile = "default"', 's.toml:6: compile: must be "off" for portable results: with "default"'),
    ],
)
def test_settings_that_are_not_pinned_are_refused(lines: str, told: str, registry: Registry, write) -> None:
    file = write(HEAD + lines + "\n")
    load_suite(file, registry)
    file.write_text(file.read_text() + "portable = true\n")
    assert told in complaint(file, registry)


def test_the_key_is_true_or_false(registry: Registry) -> None:
    assert "portable: must be a boolean, not 1" in complaint({**LEAST, "portable": 1}, registry)


@pytest.fixture
def verb(on, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Calls a verb about the toys from an empty folder: its exit code, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--plugin", TOYS, "--store", str(tmp_path / "store")])
        assert [path.name for path in tmp_path.iterdir()] in ([], ["store"])
        return ended.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize("name", ["run", "plan"])
def test_a_machine_without_avx2_is_refused_before_anything_is_written(name: str, on, verb) -> None:
    on(M1)
    told = "portable results need an x86-64 processor with AVX2, and this one (Apple M1) is not known to have it"
    assert verb(name, "toy", "--portable", "--device", "cpu") == (2, f"error: {told}\n")


def test_a_gpu_is_refused(on, verb) -> None:
    on(NEW)
    told = "error: --device cuda:1: portable results are those of a processor; use --device cpu\n"
    assert verb("plan", "toy", "--portable", "--device", "cuda:1") == (2, told)


def test_auto_is_the_processor(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on(NEW)
    monkeypatch.setattr("finefuse.device.visible_gpus", lambda: 8)
    kinds = [dict(api.plan("toy", plugins=TOYS, portable=way).jobs[0].parts)["device kind"] for way in (False, True)]
    assert kinds == ["cuda", "cpu"]


@pytest.mark.parametrize("way", [["--executor", "serial"], ["--workers", "0"]])
def test_a_process_that_may_have_other_instructions_carries_out_no_job(way: list[str], on, verb, monkeypatch) -> None:
    on(NEW)
    for name, value in PINNED.items():
        monkeypatch.setenv(name, value)
    code, told = verb("run", "toy", "--portable", "--device", "cpu", *way)
    assert code == 2
    assert (
        "changed since this process started, so it isn't known what torch uses in it; take the executor local" in told
    )
    for name in PINNED:
        monkeypatch.delenv(name)
    code, told = verb("run", "toy", "--portable", "--device", "cpu", *way)
    assert code == 2
    assert told.startswith("error: portable results need a process that was started with ONEDNN_MAX_CPU_ISA=AVX2 ATEN")


def test_a_process_that_was_started_pinned_carries_out_jobs_itself(on, verb, monkeypatch) -> None:
    on(NEW)
    for name, value in PINNED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processor, "_at_start", lambda: PINNED)
    monkeypatch.setattr(api, "run_plan", lambda plan, registry, **how: sys.exit(f"would run {plan.suite.settings}"))
    code, _ = verb("run", "toy", "--portable", "--device", "cpu", "--workers", "0")
    assert "portable=True" in str(code)


# ------------------------------------------------------------------------------------------------ pinned processes


def test_a_worker_s_torch_is_pinned_whatever_the_driver_s_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    if processor.processor().level not in ("AVX2", "AVX-512"):
        pytest.skip("needs AVX2")
    monkeypatch.syspath_prepend(str(FIXTURES))
    hostile = importlib.import_module("hostile")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    executor = Local(preload=False)
    executor.start(Crew(workers=1, threads=1, memory=0, environment=PINNED))
    row = executor.submit(hostile.torch_instructions, 0, 120).result()
    executor.stop()
    assert (row["told"], row["used"]) == (PINNED, "AVX2")


@pytest.mark.parametrize("portable", [False, True])
def test_the_executor_is_told_what_to_start_with(portable: bool, fake: ModuleType, tmp_path: Path) -> None:
    executor = fake.Inline()
    todo = fake.plan(fake.job("a"))
    suite = replace(todo.suite, settings=replace(todo.suite.settings, portable=portable))
    fake.run(replace(todo, suite=suite), tmp_path, executor)
    assert executor.crew.environment == (PINNED if portable else {})


def test_the_job_fails_if_its_executor_did_not_listen(workshop) -> None:
    shop = workshop()
    order = shop.order(shop.jobs[0])
    row = attempt(replace(order, settings=replace(order.settings, portable=True)))
    assert (row["status"], row["portable"]) == ("failed", True)
    assert row["reason"].startswith("FinefuseError: portable results need a process that was started with ONEDNN_MAX")
    assert not (shop.store / "artifacts" / order.job.artifact).exists()


# ------------------------------------------------------------------------------------------------------ rows, board


def test_the_board_says_portable_where_its_rows_do(build: ModuleType) -> None:
    def said(**fields: Any) -> list[str]:
        rows = [row | fields for row in runs(build, "full", [0.9, 0.8])]
        return [note for note in make_leaderboard("demo", rows).notes if note.startswith("Portable: ")]

    assert said() == said(portable=False) == []
    assert said(portable=True) == [
        "Portable: the instruction set was pinned to AVX2, so that x86-64 machines with processors of the same vendor "
        "give the same bits."
    ]


def test_the_committed_baselines_are_portable_and_the_committed_leaderboard_is_not() -> None:
    root = Path(__file__).parents[2]
    lines = (root / "baselines" / "quick" / "records.jsonl").read_text().splitlines()
    assert {json.loads(line)["portable"] for line in lines} == {True}
    assert "portable" not in tomllib.loads((root / "suites" / "quick.toml").read_text())


def test_a_row_s_word_is_checked() -> None:
    row = {"cell": "a", "key": "k", "kind": "pretrain", "dataset": "d", "backbone": "b", "label": "", "pool": ""}
    row |= {"seed": 0, "member": 0, "status": "skipped"}
    assert wrong_with(row | {"portable": True}) == ""
    assert wrong_with(row | {"portable": "yes"}) == "has 'yes' as `portable`, where true, false or null was expected"
