"""Torch's switches for one job."""

from __future__ import annotations

import pytest
import torch

from finefuse.engine.work.switches import in_force, set_up
from finefuse.types import Settings


@pytest.fixture(autouse=True)
def put_back():
    yield
    set_up(Settings(), "cpu")


def test_the_switches_are_those_of_the_suite_whatever_was_set_before():
    torch.backends.cuda.matmul.allow_tf32 = True
    set_up(Settings(), "cpu")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert torch.get_num_threads() == 1
    set_up(Settings(tf32=True, deterministic=False), "cpu")
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()


def test_on_a_gpu_torch_is_asked_for_deterministic_algorithms(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    set_up(Settings(), "cuda:0")
    assert torch.are_deterministic_algorithms_enabled()
    set_up(Settings(deterministic=False), "cuda:0")
    assert not torch.are_deterministic_algorithms_enabled()


def test_for_a_while_the_switches_are_a_jobs_and_then_what_they_were():
    def switches():
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        strict = torch.are_deterministic_algorithms_enabled()
        return torch.get_num_threads(), strict, cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32

    before = switches()
    with in_force(Settings(threads=2, tf32=True), "cuda:0"):
        assert switches() == (2, True, True, False, True)
    assert switches() == before
