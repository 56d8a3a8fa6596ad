"""Whole suites on a GPU: every strategy gives there what it gives on the processor, and the same bits every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.strategies import everything

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
NEAR = 0.02
"""How far two devices may put a cell's nll: they round otherwise, and training carries that on."""
WORKERS = "6"
HEAD = """
name      = "tiny"
seeds     = [0]
budget    = { epochs = 5, batch_size = 16 }
datasets  = [{ use = "points", images = true }, "points"]
backbones = [{ use = "tiny", images = true }, "tiny"]
metrics   = ["accuracy", "nll", "ece"]
latency   = []
checkpoints = 2

[pools]
copies  = { of = ["full"], copies = 3 }
schemes = { of = ["full", "linear-probe", "lp-ft"] }
"""
PICTURES = """
name      = "pictures"
seeds     = [0]
budget    = { epochs = 2, batch_size = 32 }
datasets  = [{ use = "digits", shots = 5 }]
backbones = [{ use = "torchvision", model = "resnet18", weights = "none", side = 32 }]
schemes   = ["full", "linear-probe"]
fusions   = ["soup", "mean-probs"]
precision = "bf16"
channels_last = true
tf32      = true
augment   = ["flip", "crop"]
"""


def ran(place: Any, text: str, *options: str, name: str = "tiny") -> dict[str, dict[str, Any]]:
    """The rows of a suite, by cell."""
    place.write("suite.toml", text)
    outcome = place.run("run", "suite.toml", "--quiet", *options)
    rows = {row["cell"]: row for row in place.rows(f"results/{name}")}
    wrong = {cell: row["reason"] for cell, row in rows.items() if row["status"] not in ("ok", "skipped")}
    assert not wrong, json.dumps(wrong, indent=1)
    assert outcome.code == 0, outcome.err
    return rows


def test_every_strategy_gives_on_a_gpu_what_it_gives_on_the_processor(new_place: Callable[[], Any], tiny: str) -> None:
    options = ("--plugin", tiny, "--workers", WORKERS)
    on_gpu = ran(new_place(), everything(HEAD), *options, "--device", "cuda")
    on_cpu = ran(new_place(), everything(HEAD), *options, "--device", "cpu")
    assert on_gpu.keys() == on_cpu.keys()
    scored = [cell for cell, row in on_cpu.items() if "test.nll" in row]
    assert len(scored) > 200
    assert all(on_gpu[cell]["device"].startswith("cuda") for cell in scored)
    apart = {
        cell: (on_cpu[cell]["test.nll"], on_gpu[cell]["test.nll"])
        for cell in scored
        if abs(on_cpu[cell]["test.nll"] - on_gpu[cell]["test.nll"]) > NEAR * max(1, on_cpu[cell]["test.nll"])
    }
    assert not apart, json.dumps(apart, indent=1)


def test_one_worker_and_three_give_the_same_bits(
    new_place: Callable[[], Any], tiny: str, tiny_suite: str, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    kept = []
    for workers in ("1", "3"):
        place = new_place()
        ran(place, tiny_suite, "--plugin", tiny, "--device", "cuda", "--workers", workers)
        bits = {name: digest for name, digest in snapshot(place.store).items() if name.endswith(".safetensors")}
        kept.append((place.scores("results/tiny"), bits))
    assert kept[0] == kept[1]


def test_half_precision_is_told_and_what_was_made_can_be_exported(place: Any) -> None:
    pytest.importorskip("torchvision")
    rows = ran(place, PICTURES, "--device", "cuda", name="pictures")
    tuned = next(row for row in rows.values() if row["kind"] == "tune" and row["label"] == "full")
    assert (tuned["precision"], tuned["channels_last"], tuned["tf32"]) == ("bf16", True, True)
    assert tuned["peak_memory"] > 2**20
    assert torch.cuda.get_device_name(0) in tuned["machine"]
    timed = [row for row in rows.values() if row["kind"] == "time"]
    assert timed
    assert all(0 < row["latency.1.p50"] <= row["latency.1.p95"] for row in timed)
    outcome = place.run("export", "results/pictures", "soup", "--to", "soup.pt2")
    assert outcome.code == 0, outcome.err
    loaded = torch.export.load(place.folder / "soup.pt2").module()
    assert loaded(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
