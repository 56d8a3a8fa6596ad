"""Whole jobs on a pretended GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from finefuse.engine.measure import cost, latency
from finefuse.engine.work import loading
from finefuse.engine.work.switches import WORKSPACE, in_force
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
