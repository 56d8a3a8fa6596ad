"""The order of the batches, precision and memory format."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finefuse.engine.precision import as_memory_format, mixed_precision
from finefuse.engine.train.batches import batch_order


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2**62))
@settings(max_examples=40)
def test_every_example_comes_once_per_epoch_in_batches_of_one_size(n, size, seed):
    size = min(size, n)
    flat = torch.cat(list(islice(batch_order(n, size, seed), 4 * n)))
    assert len(flat) == 4 * n * size
    for epoch in range(4):
        assert sorted(flat[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


def test_batches_larger_than_the_data_are_the_data():
    assert [len(rows) for rows in islice(batch_order(5, 32, 0), 3)] == [5, 5, 5]


def test_the_order_depends_on_the_seed_alone():
    def start(seed):
        return torch.cat(list(islice(batch_order(40, 8, seed), 5))).tolist()

    torch.manual_seed(1)
    first = start(3)
    torch.manual_seed(2)
    assert start(3) == first
    assert start(4) != first


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_suite(precision, kind):
    with mixed_precision(precision, torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind


def test_channels_last_is_for_images_only():
    image, row = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3)
    assert as_memory_format(image, True).is_contiguous(memory_format=torch.channels_last)
    assert as_memory_format(image, False) is image
    assert as_memory_format(row, True) is row
