"""The executor `serial`: calls in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from finefuse.types import Crew
from finefuse_zoo.executors.local import Local
from finefuse_zoo.executors.serial import Serial


@pytest.fixture
def serial() -> Iterator[Serial]:
    executor = Serial()
    executor.start(Crew(workers=1, threads=1, memory=0))
    yield executor
    executor.stop()


def test_serial_carries_out_here_and_now(serial: Serial, hostile: ModuleType) -> None:
    future = serial.submit(hostile.fine, lambda: 0, 20)
    assert future.done()
    assert future.result()["pid"] == os.getpid()
    assert not serial.parallel
    assert Local.parallel


def test_serial_passes_on_what_is_raised_but_not_ctrl_c(serial: Serial, hostile: ModuleType) -> None:
    def interrupted(order: Any) -> dict:
        raise KeyboardInterrupt

    assert isinstance(serial.submit(hostile.raises, 1, 20).exception(), ValueError)
    with pytest.raises(KeyboardInterrupt):
        serial.submit(interrupted, 1, 20)


def test_serial_gives_torch_the_threads_of_the_crew_and_takes_them_back(hostile: ModuleType) -> None:
    import torch

    before = torch.get_num_threads()
    executor = Serial()
    executor.start(Crew(workers=1, threads=before + 1, memory=0))
    assert executor.submit(hostile.torch_threads, 0, 20).result()["intra"] == before + 1
    executor.stop()
    executor.stop()
    assert torch.get_num_threads() == before
