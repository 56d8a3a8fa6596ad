"""Inputs that stay on the host are fetched beside the step before."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from finefuse.engine.train.batches import Rows
from finefuse.engine.train.examples import Examples
from helpers.pretending import GPU, pretended_gpu


class Watched:
    """Inputs on the host that note who reads which."""

    device = torch.device("cpu")

    def __init__(self, x: Tensor) -> None:
        self._x = x
        self.read: list[tuple[int, bool]] = []
        self.begun = threading.Semaphore(0)

    def __getitem__(self, rows: Tensor) -> Tensor:
        if rows[0] < 0:
            raise OSError("the file is gone")
        self.read.append((int(rows[0]), threading.current_thread() is threading.main_thread()))
        self.begun.release()
        return self._x[rows]


def batches(*firsts: int) -> list[Rows]:
    return [Rows(rows := torch.tensor([n, n + 1]), rows) for n in firsts]


def test_the_next_batch_is_fetched_while_this_one_is_trained_on() -> None:
    x = torch.arange(8.0)
    with pretended_gpu() as gpu:
        watched: Any = Watched(x)
        examples = Examples(watched, GPU)
        with examples.ahead(iter(batches(0, 4, 2))) as coming:
            for n, rows in enumerate(coming):
                waits = gpu.waits.total()
                part = examples.read(rows)
                assert gpu.waits.total() == waits
                assert part.is_cuda
                assert part.tolist() == x[rows.on_host].tolist()
                for _ in range(2 if n == 0 else n < 2):
                    assert watched.begun.acquire(timeout=60)  # the next one has begun, before it is asked for
    assert watched.read == [(0, True), (4, False), (2, False)]
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_nothing_is_fetched_that_nobody_reads() -> None:
    with pretended_gpu():
        watched: Any = Watched(torch.arange(8.0))
        with Examples(watched, GPU).ahead(iter(batches(0, 4, 2))) as coming:
            assert len(list(coming)) == 3
    assert watched.read == []


def test_an_error_of_the_next_batch_is_raised_where_that_is_read() -> None:
    with pretended_gpu():
        watched: Any = Watched(torch.arange(8.0))
        examples = Examples(watched, GPU)
        with examples.ahead(iter(batches(0, -1))) as coming:
            examples.read(next(coming))
            with pytest.raises(OSError, match="the file is gone"):
                examples.read(next(coming))


def test_inputs_on_the_device_are_read_there() -> None:
    x = torch.arange(8.0)
    examples = Examples(x, x.device)
    with examples.ahead(iter(batches(6, 2))) as coming:
        assert [examples.read(rows).tolist() for rows in coming] == [[6.0, 7.0], [2.0, 3.0]]
