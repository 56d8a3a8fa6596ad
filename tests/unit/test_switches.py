"""Torch's switches for one job."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

from finefuse.engine.work import rounding
from finefuse.engine.work.switches import in_force, set_up
from finefuse.engine.work.untouched import Surroundings
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


NEWER = pytest.mark.skipif(torch.__version__ < "2.9", reason="this torch has no fp32_precision")


@NEWER
@pytest.mark.parametrize("where", ["", "cuda.matmul", "cudnn", "cudnn.conv", "mkldnn.matmul"])
def test_a_process_that_has_set_fp32_precision_gets_it_back(where):
    owner, before = attrgetter(f"backends.{where}".rstrip("."))(torch), rounding.rounding()
    try:
        owner.fp32_precision = "tf32"
        set_by_hand = rounding.rounding()
        with in_force(Settings(), "cpu"):
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.mkldnn.matmul.fp32_precision != "tf32"
        assert rounding.rounding() == set_by_hand
        assert owner.fp32_precision == "tf32"
    finally:
        rounding.put_back(before)
    assert rounding.rounding() == before


@NEWER
def test_a_plugin_that_sets_fp32_precision_is_noticed_and_undone():
    set_up(Settings(), "cpu")
    surroundings = Surroundings()
    torch.backends.fp32_precision = "tf32"
    assert surroundings.put_back() == ["torch's precision of products"]
    assert surroundings.put_back() == []
