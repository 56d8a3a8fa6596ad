"""Networks that others trained, met with JPEG images: alone, voting, averaged, and the best that fusing could do."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

import finefuse

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or ROOT.parent / "shared" / "data")
EXAMPLE = ROOT / "examples" / "cifar10-jpeg"
KNOWN = {"resnet20": 0.8103, "resnet32": 0.8256, "resnet44": 0.8267, "resnet56": 0.8320, "vote": 0.8564}
KNOWN |= {"mean-probs": 0.8590, "oracle": 0.9329}
NEAR = 0.0005


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not ((DATA / "cifar10-jpeg").is_dir() and (DATA / "weights" / "resnet-cifar10").is_dir()),
    reason=f"there are no cifar10-jpeg and weights/resnet-cifar10 in {DATA}",
)
def test_the_scores_are_those_that_are_known(tmp_path: Path) -> None:
    text = (EXAMPLE / "untouched.toml").read_text()
    for below, name in (("cifar10-jpeg", "CIFAR-10-images.tar.xz"), ("weights", "resnet-cifar10")):
        text = text.replace(f"data/{name}", f"{DATA}/{below}/{name}")
    suite = tomllib.loads(text) | {"channels_last": True}
    run = finefuse.run(
        suite,
        plugins=str(EXAMPLE / "cifar_resnets.py"),
        only=("as-is", "vote", "mean-probs"),
        device="cpu",
        out=tmp_path / "out",
        store=tmp_path / "store",
        quiet=True,
    )
    assert run.ok
    found = {row["backbone"] if row["kind"] == "tune" else row["label"]: row.get("test.accuracy") for row in run.rows}
    found["oracle"] = next(row["oracle.test.accuracy"] for row in run.rows if row["kind"] == "pool")
    assert {name: found[name] for name in KNOWN} == pytest.approx(KNOWN, abs=NEAR)
