"""Graphs of modules: what torch.export can't hold is refused, or narrowed and said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from finefuse import FinefuseError
from finefuse.deploy.formats import write


class Branching(nn.Module):
    """Does one thing for small batches, another for large ones."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) if len(x) < 5 else x.mean(1)


class Reading(nn.Module):
    """Looks at what its inputs hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) if x.sum() > 0 else x.mean(1)


class Counting(nn.Module):
    """Gives something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.sum(1) + self.calls


def test_a_module_that_takes_no_other_batch_gets_a_graph_for_one(tmp_path: Path) -> None:
    x = torch.randn(8, 4)
    written = write(Branching(), x, tmp_path / "model.pt2")
    assert written.fixed.startswith("torch finds no graph for any number of examples: ")
    assert "for 1 at a time" in written.check
    assert torch.equal(torch.export.load(tmp_path / "model.pt2").module()(x[:1]), x[:1].sum(1))


def test_a_module_that_looks_at_values_has_no_graph(tmp_path: Path) -> None:
    with pytest.raises(FinefuseError, match=r"^torch\.export finds no graph for it: "):
        write(Reading(), torch.randn(8, 4), tmp_path / "model.pt2")


def test_a_graph_that_is_not_the_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FinefuseError, match=r"^the file gives other outputs than the module, by up to "):
        write(Counting(), torch.randn(8, 4), tmp_path / "model.pt2")
