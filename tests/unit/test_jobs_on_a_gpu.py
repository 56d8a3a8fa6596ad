"""Whole jobs on a pretended GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from finefuse.engine.measure import cost, latency
from finefuse.engine.measure.scores import score_of
from finefuse.engine.work import loading
from finefuse.engine.work.switches import WORKSPACE, current, in_force
from finefuse.types import Settings
from helpers.pretending import PretendedGpu, pretended_gpu


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    monkeypatch.setenv(WORKSPACE, ":4096:8")
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    cost.warm_up.cache_clear()
    with in_force(Settings(), "cpu"), pretended_gpu() as gpu:
        yield gpu
    cost.warm_up.cache_clear()


def rows_of(shop: Any, monkeypatch: pytest.MonkeyPatch, *, on_host: bool) -> list[dict[str, Any]]:
    if on_host:
        monkeypatch.setattr(loading, "SHARE", 0.0)
    rows: list[dict[str, Any]] = shop.run(device="cuda:0")
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    return rows


def test_inputs_that_stay_on_the_host_are_no_trouble_to_any_job(
    gpu: PretendedGpu, workshop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, timed = [], latency.measure_latency
    monkeypatch.setattr(latency, "measure_latency", lambda m, x, p: seen.append(x.device) or timed(m, x, p))
    rows = rows_of(workshop(schemes=["full"], fusions=["soup"], latency=[2]), monkeypatch, on_host=True)
    assert {row["kind"] for row in rows} == {"pretrain", "tune", "fuse", "pool", "time"}
    assert set(seen) == {torch.device("cuda:0")}


@pytest.mark.slow
def test_inputs_that_stay_on_the_host_change_no_row(
    gpu: PretendedGpu, workshop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = {}
    for on_host in (False, True):
        shop = workshop()
        shop.store = tmp_path / str(on_host)
        rows[on_host] = rows_of(shop, monkeypatch, on_host=on_host)
    for one, other in zip(*rows.values(), strict=True):
        same = {name for name in one if name.startswith(("test.", "flops", "outputs", "structure", "member"))}
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


@dataclass(frozen=True)
class Where:
    """A metric that says where it is computed."""

    kinds = ("classification",)
    higher_is_better = True

    def score(self, outputs: torch.Tensor, y: torch.Tensor) -> float:
        return float(outputs.is_cuda or y.is_cuda)


def test_metrics_are_computed_on_the_processor(gpu: PretendedGpu) -> None:
    outputs, y = torch.eye(3, device="cuda:0"), torch.arange(3, device="cuda:0")
    assert score_of("where", Where(), outputs, y) == 0.0


def test_what_a_plugin_does_on_cuda_is_done_on_the_job_s_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    for device in ("cuda:1", "cpu"):
        with current(device):
            pass
    assert entered == ["cuda:1"]


@pytest.mark.parametrize(
    ("models", "named"),
    [(["A", "A"], ["2 x A, CUDA", "2 x A, CUDA"]), (["A", "B"], ["A (of A, B), CUDA", "B (of A, B), CUDA"])],
)
def test_the_machine_names_the_gpu_in_use(models: list[str], named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"is_available": lambda: True, "device_count": lambda: 2, "get_device_name": models.__getitem__}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    cost._machine.cache_clear()
    for n in range(2):
        monkeypatch.setattr(torch.cuda, "current_device", lambda n=n: n)
        assert cost.machine()["gpu"].startswith(named[n])
        assert named[n] in cost.machine_id()
    cost._machine.cache_clear()
