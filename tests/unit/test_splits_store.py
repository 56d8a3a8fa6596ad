"""Splits are written once, and mapped by each job as they were."""

from __future__ import annotations

import logging

import pytest
import torch

from finefuse.engine.store import splits as store
from finefuse.engine.store.splits import content_of, kept_splits, named_tensors
from finefuse.errors import StoreError
from finefuse.tasks import Classification
from finefuse.types import Data, Splits

TASK = Classification(outputs=3, modality="image", input_shape=(3, 4, 4))


def some(dtype=torch.float32, task=TASK):
    def part(n, seed):
        x = torch.randint(200, (n, 4, 4, 3), generator=torch.Generator().manual_seed(seed)).to(dtype)
        return Data(x.permute(0, 3, 1, 2), torch.arange(n) % 3)

    return Splits(task, part(7, 0), part(5, 1), part(0, 2))


class Maker:
    def __init__(self, splits):
        self.splits, self.calls = splits, 0

    def __call__(self):
        self.calls += 1
        return self.splits, {"repeated": 2, "remarks": ["small"]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bfloat16, torch.bool, torch.int64])
def test_splits_come_back_with_their_bits_and_their_order_in_memory(tmp_path, dtype):
    make = Maker(some(dtype))
    for _ in range(2):
        read, told = kept_splits(tmp_path, "ab12", TASK, make)
        assert told == {"repeated": 2, "remarks": ["small"]}
        for name, tensor in named_tensors(make.splits).items():
            back = named_tensors(read)[name]
            assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(back, tensor)
            assert back.stride() == tensor.stride() or not tensor.numel()
    assert make.calls == 1


def test_what_is_written_to_them_stays_private(tmp_path):
    make = Maker(some())
    first, _ = kept_splits(tmp_path, "ab12", TASK, make)
    first.train.x.mul_(2)
    first.val.y.numpy()[:] = 0
    again, _ = kept_splits(tmp_path, "ab12", TASK, make)
    assert torch.equal(again.train.x, make.splits.train.x)
    assert torch.equal(again.val.y, make.splits.val.y)
    assert make.calls == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "meta"])
def test_what_is_damaged_is_made_again_and_said(tmp_path, caplog, damage):
    make = Maker(some())
    kept_splits(tmp_path, "ab12", TASK, make)
    (file,) = tmp_path.glob("splits/ab/ab12/" + ("meta.json" if damage == "meta" else "train.x.bin"))
    content = bytearray(file.read_bytes())
    content[5] ^= 128
    file.write_bytes(content if damage == "flip" else content[:9])
    with caplog.at_level(logging.WARNING):
        read, _ = kept_splits(tmp_path, "ab12", TASK, make)
    assert "damaged, and made again" in caplog.text
    assert torch.equal(read.train.x, make.splits.train.x)
    assert make.calls == 2


def test_what_no_file_can_hold_is_made_by_every_job(tmp_path, monkeypatch):
    sparse = Maker(Splits(TASK, *(Data(part.x.to_sparse(), part.y) for part in (some().train,) * 3)))
    large, other = Maker(some()), Maker(some(task=Classification(outputs=2, modality="image", input_shape=(3, 4, 4))))
    for make in (sparse, other):
        assert kept_splits(tmp_path, "ab12", TASK, make)[0] is make.splits
    monkeypatch.setattr(store, "LARGEST", 100)
    assert kept_splits(tmp_path, "ab12", TASK, large)[0] is large.splits
    assert not list(tmp_path.rglob("*.bin"))


def test_a_store_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path / "splits").write_text("a file")
    with pytest.raises(StoreError, match=r"the store can't be written to: .*; set FINEFUSE_STORE"):
        kept_splits(tmp_path, "ab12", TASK, Maker(some()))
    assert not list((tmp_path / "drafts").iterdir())


def test_content_is_that_of_elements_type_and_shape():
    x = torch.arange(12.0).reshape(3, 4)
    same = [x, x.t().contiguous().t(), x.clone().requires_grad_()]
    assert len({content_of(tensor) for tensor in same}) == 1
    other = [x, x.reshape(4, 3), x.view(torch.int32), x + 1, -x, torch.zeros(0), torch.tensor(1.0)]
    assert len({content_of(tensor) for tensor in other}) == len(other)
    assert content_of(x * float("nan")) == content_of(x * float("nan"))
