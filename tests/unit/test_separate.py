"""Outputs for an example may not depend on the others it is scored with; what is sound keeps its bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from finefuse.engine.work.separate import chunks, refuse_joint
from finefuse.errors import PluginError
from finefuse.types import Settings
from helpers.plugging import PLUGINS

DOOR = str(PLUGINS / "transductive.py")
REFUSED = r"^its outputs for an example depend on the others in its batch: of \d+ test examples, \d+ have other outputs"


@pytest.fixture
def fuse(workshop: Any) -> Callable[..., Any]:
    def carry_out(fusion: Any) -> Any:
        pools = {"all": {"of": ["full"], "copies": 2}}
        return workshop([DOOR], schemes=["full"], fusions=[fusion], pools=pools, latency=[]).run("fuse")[-1]

    return carry_out


@pytest.mark.parametrize("fusion", [{"use": "centres-all", "sly": True}, "centres-features"])
def test_a_fusion_that_centres_over_the_batch_is_refused_in_a_run(fuse: Callable[..., Any], fusion: Any) -> None:
    with pytest.raises(PluginError, match=REFUSED):
        fuse(fusion)


def test_one_that_is_not_sly_disagrees_with_itself_already(fuse: Callable[..., Any]) -> None:
    with pytest.raises(PluginError, match="the ensemble's outputs differ from those combined of its members' outputs"):
        fuse("centres-all")


def test_a_scheme_that_centres_over_the_batch_is_refused_in_a_run(workshop: Any) -> None:
    with pytest.raises(PluginError, match=REFUSED):
        workshop([DOOR], schemes=["tunes-centred"], fusions=[], pools={}, latency=[]).run("tune")


def test_what_is_sound_keeps_its_bits(fuse: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fuse("ranks")
    monkeypatch.setattr("finefuse.engine.work.job.refuse_joint", lambda *_: None)
    assert fuse("ranks")["outputs"] == asked["outputs"]


OUTPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def seen_by(predict: Callable[[Tensor], Tensor], address: str = "a", **settings: Any) -> list[list[int]]:
    seen: list[list[int]] = []

    def noted(rows: Tensor) -> Tensor:
        seen.append(rows.tolist())
        return predict(rows)

    refuse_joint(noted, OUTPUTS, address, Settings(**settings), chunks(len(OUTPUTS)))
    return seen


def test_every_example_is_asked_about_once_in_company_that_depends_on_the_artifact() -> None:
    first, again, other = (seen_by(lambda rows: OUTPUTS[rows], address) for address in "aab")
    assert first == again != other
    assert sorted(n for batch in first for n in batch) == list(range(40))
    assert len(first[0]) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 100])
def test_chunks_make_up_any_number(count: int) -> None:
    assert sum(chunks(count)) == count
    assert min(chunks(count)) == 1


def test_rounding_and_a_tie_here_and_there_are_no_fault() -> None:
    seen_by(lambda rows: OUTPUTS[rows] * (1 + 1e-6))
    seen_by(lambda rows: torch.where((rows == 7)[:, None], OUTPUTS[rows].flip(-1), OUTPUTS[rows]))
    seen_by(lambda rows: OUTPUTS[rows] * 1.01, precision="bf16")
    with pytest.raises(PluginError, match=REFUSED):
        seen_by(lambda rows: OUTPUTS[rows] * 1.01)


def test_another_shape_in_a_small_batch_is_refused() -> None:
    with pytest.raises(PluginError, match=r"^1 examples gave outputs of shape \(1, 2\)$"):
        seen_by(lambda rows: OUTPUTS[rows, :2])
