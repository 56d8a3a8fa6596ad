"""The same suite gives the same bits: in one process, in two workers, and from run to run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.strategies import everything

ELSEWHERE = {"as-is", "mean", "text-head"}
"""Not for these cells: one needs as many classes as the source has, others are for regression and for CLIP."""
WAYS = (("--executor", "serial"), ("--workers", "2"))
"""All jobs in one process, each with what those before it left behind, and in several."""
HEAD = """
name      = "tiny"
seeds     = [0]
budget    = { epochs = 5, batch_size = 16 }
datasets  = [{ use = "points", images = true }, "points"]
backbones = [{ use = "tiny", images = true }, "tiny"]
metrics   = ["accuracy", "nll", "ece"]
latency   = []

[pools]
schemes = { of = ["full", "linear-probe", "lp-ft"] }
"""


def test_serial_and_two_workers_give_the_same_bits(
    new_place: Callable[[], Any],
    tiny: str,
    lasting: Callable[[Any], Any],
    snapshot: Callable[[Path], dict[str, str]],
) -> None:
    places = [new_place() for _ in WAYS]
    for place, options in zip(places, WAYS, strict=True):
        place.write("tiny.toml", everything(HEAD))
        outcome = place.run("run", "tiny.toml", "--plugin", tiny, "--device", "cpu", "--quiet", *options)
        assert outcome.code == 0, outcome.err
    first, other = places
    complete(first.rows("results/tiny"))
    assert first.scores("results/tiny") == other.scores("results/tiny")
    rows, again = ({row["cell"]: lasting(row) for row in at.rows("results/tiny")} for at in (first, other))
    assert rows == again
    weights_and_outputs, bits = (tensors(snapshot(at.store)) for at in (first, other))
    assert weights_and_outputs == bits


def complete(rows: list[dict[str, Any]]) -> None:
    """The comparison rests on every strategy, on networks with and without BatchNorm, and on all that a row can say."""
    suite = tomllib.loads(everything(HEAD))
    wanted = {*suite["schemes"], *suite["fusions"]} - ELSEWHERE
    fine = [row for row in rows if row["status"] == "ok" and row["kind"] in ("tune", "fuse")]
    assert {row["label"] for row in fine} == wanted
    for dataset in ("points(images=true)", "points"):
        assert len({row["label"] for row in fine if row["dataset"] == dataset}) > 0.8 * len(wanted)
    assert all({"outputs", "correct", "examples", "test.nll"} <= set(row) for row in fine)
    assert {row["status"] for row in rows} == {"ok", "skipped"}


def tensors(files: dict[str, str]) -> dict[str, str]:
    """Digests of all weights and outputs in a store."""
    found = {name: bits for name, bits in files.items() if name.endswith(".safetensors")}
    assert {Path(name).stem for name in found} == {"weights", "outputs"}
    return found
