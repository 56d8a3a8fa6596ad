"""`examples/fashion-mnist`: a suite that can be planned with files of the form that its page names."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import finefuse

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion-mnist"

pytest.importorskip("torchvision", reason="torchvision is not installed")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight images for training and four for the test in the format of MNIST, and weights that are not read."""
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    raw = Path("data", "FashionMNIST", "raw")
    raw.mkdir(parents=True)
    for part, n in (("train", 8), ("t10k", 4)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + bytes(n * 784))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, n) + bytes(n))
    for name in ("squeezenet1_1", "mobilenet_v2"):
        Path("data", f"{name}-imagenet.pth").write_bytes(b"weights")


def planned() -> list[Any]:
    """The jobs of the suite, beside files of that form."""
    suite = Path("fashion-mnist.toml")
    suite.write_text((EXAMPLE / suite).read_text())
    return list(finefuse.plan(suite, device="cpu").jobs)


def test_the_suite_can_be_planned() -> None:
    kinds = [job.kind for job in planned()]
    schemes, trials, fusions, pools, seeds = 13, 3, 7, 2 + 1, 3  # a pool for each network, and one across them
    assert kinds.count("tune") == 2 * seeds * schemes
    assert kinds.count("trial") == 2 * seeds * trials
    assert kinds.count("fuse") == seeds * pools * fusions


def test_a_missing_file_of_weights_is_named() -> None:
    Path("data", "mobilenet_v2-imagenet.pth").unlink()
    with pytest.raises(finefuse.FinefuseError, match=r"mobilenet_v2-imagenet\.pth"):
        planned()
