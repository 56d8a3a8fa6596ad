from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from finefuse.engine.drive import shares as crew
from finefuse.types import Limits


@pytest.mark.parametrize(("text", "allowed"), [("max\n", None), ("1000000\n", 1_000_000), (None, None)])
def test_without_a_limit_a_worker_has_its_share_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, allowed: int | None
) -> None:
    monkeypatch.setattr(crew, "CGROUP", tmp_path / "memory.max")
    if text is not None:
        crew.CGROUP.write_text(text)
    assert crew.memory_limit(Limits(), 4) == int(0.8 * (allowed or psutil.virtual_memory().total) / 4)


def test_a_limit_of_the_suite_is_each_worker_s() -> None:
    assert crew.memory_limit(Limits(memory=2.5), 4) == 2.5 * 1024**3


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "all_gpus", lambda: 2)
    assert crew.places("cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert crew.places("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert crew.places("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr(crew, "all_gpus", lambda: 0)
    assert crew.places("cuda", 2) == ["cuda", "cuda"]
