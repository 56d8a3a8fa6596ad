"""Portable results have the bits that another machine had, whatever this one's processor can do beyond AVX2."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import finefuse
from finefuse.processor import processor

ROOT = Path(__file__).parents[2]
QUICK = tomllib.loads((ROOT / "suites" / "quick.toml").read_text(encoding="utf-8"))
ELSEWHERE = {
    ("pretrain", "", "cnn-s"): "5e4920eedaf88809",
    ("pretrain", "", "vit-t"): "c36a27d7c0452e8f",
    ("tune", "full", "cnn-s"): "0b7eae2111cffa94",
    ("tune", "full", "vit-t"): "f94828e3482e69d2",
    ("tune", "linear-probe", "cnn-s"): "0187022f72bef6cb",
    ("tune", "linear-probe", "vit-t"): "62f612a4ae8d41f3",
}
"""Digests of the outputs for seed 0, by torch 2.14.1 on one of AMD's processors with AVX2 and without AVX-512."""
SMALL = """
name      = "small"
budget    = { epochs = 3, batch_size = 16 }
datasets  = ["points"]
backbones = ["tiny"]
schemes   = ["linear-probe"]
latency   = []
portable  = true
"""


def test_rows_say_that_they_are_portable_and_are_found_again(new_place: Callable[[], Any], tiny: str) -> None:
    if processor().level not in ("AVX2", "AVX-512"):
        pytest.skip("needs AVX2")
    place = new_place()
    place.write("small.toml", SMALL)
    command = ("run", "small.toml", "--plugin", tiny, "--device", "cpu", "--workers", "1", "--quiet")
    outcome = place.run(*command, env={"ONEDNN_MAX_CPU_ISA": "SSE41"})  # which the workers don't get
    assert outcome.code == 0, outcome.err
    assert "Portable: the instruction set was pinned to AVX2" in outcome.out
    for row in place.rows("results/small"):
        assert row["portable"] is True
        assert row["parts"]["instruction set of oneDNN"] == "AVX2"
        assert ", AVX2, " in row["machine"]
    outcome = place.call("plan", "small.toml", "--plugin", tiny, "--device", "cpu")
    assert "2 cached; nothing to compute" in outcome.out


@pytest.mark.slow
def test_the_bits_are_those_of_another_machine(tmp_path: Path) -> None:
    found = processor()
    if found.vendor != "AMD" or found.level not in ("AVX2", "AVX-512") or metadata.version("torch") != "2.14.1":
        pytest.skip("needs torch 2.14.1 and a processor of AMD's with AVX2: MKL takes other paths on others")
    plain = {name: QUICK[name] for name in ("name", "budget", "datasets", "backbones", "metrics")}
    suite = {**plain, "schemes": ["full", "linear-probe"], "latency": [], "portable": True}
    run = finefuse.run(suite, device="cpu", workers=2, out=tmp_path / "out", store=tmp_path / "store", quiet=True)
    assert {(row["kind"], row["label"], row["backbone"]): row["outputs"] for row in run.rows} == ELSEWHERE
