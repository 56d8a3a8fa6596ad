"""`examples/fashion-mnist`: suites that can be planned with files of the form that its page names."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import finefuse

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion-mnist"
SEEDS = 3

pytest.importorskip("torchvision", reason="torchvision is not installed")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight images for training and four for the test in the format of MNIST, and weights that nobody reads."""
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    raw = Path("data", "FashionMNIST", "raw")
    raw.mkdir(parents=True)
    for part, n in (("train", 8), ("t10k", 4)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + bytes(n * 784))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, n) + bytes(n))
    for name in ("squeezenet1_1", "mobilenet_v2"):
        Path("data", f"{name}-imagenet.pth").write_bytes(b"weights")


def planned(name: str) -> list[Any]:
    """The jobs of a suite of the example, beside files of that form."""
    suite = Path(name)
    suite.write_text((EXAMPLE / name).read_text())
    return list(finefuse.plan(suite, device="cpu").jobs)


def count(jobs: list[Any], kind: str) -> int:
    return sum(job.kind == kind for job in jobs)


@pytest.mark.parametrize(
    ("name", "schemes", "fusions", "trials"), [("fashion-mnist.toml", 14, 7, 3), ("fashion-mnist-200.toml", 3, 4, 0)]
)
def test_the_suites_can_be_planned(name: str, schemes: int, fusions: int, trials: int) -> None:
    jobs = planned(name)
    assert count(jobs, "tune") == 2 * SEEDS * schemes
    assert count(jobs, "trial") == 2 * SEEDS * trials
    pools = 2 + 1 if name == "fashion-mnist.toml" else 1  # one for each network, and one across them
    assert count(jobs, "fuse") == SEEDS * pools * fusions


def test_a_missing_file_of_weights_is_named() -> None:
    Path("data", "mobilenet_v2-imagenet.pth").unlink()
    with pytest.raises(finefuse.FinefuseError, match=r"mobilenet_v2-imagenet\.pth"):
        planned("fashion-mnist.toml")
