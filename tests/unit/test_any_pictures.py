"""cnn-s and vit-t on anyone's pictures: bytes, colours, any size; and nothing changes for those of `letters`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import finefuse
from finefuse import Ref
from finefuse.types import Budget
from finefuse_zoo.backbones._blocks import FirstStage, Patches, as_small_pictures
from finefuse_zoo.backbones.cnn import CnnS
from finefuse_zoo.backbones.vit import VitT
from finefuse_zoo.datasets._pixels import CENTRE, SPREAD
from finefuse_zoo.datasets.digits import Digits

SHAPE = (1, 8, 8)


def test_pictures_of_the_shape_stay_the_very_tensor():
    x = torch.randn(3, 1, 8, 8)
    assert as_small_pictures(x, SHAPE) is x


def test_bytes_are_as_bright_as_the_counts_of_letters():
    x = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 1, 8, 8)
    expected = [(count - CENTRE) / SPREAD for count in (0, 16, 3.2)]
    assert as_small_pictures(x, SHAPE)[:, 0, 0, 0].tolist() == pytest.approx(expected)


def test_channels_become_their_mean_and_other_sizes_are_resized_with_antialiasing():
    x = torch.arange(3 * 32 * 16, dtype=torch.float32).view(1, 3, 32, 16)
    small = as_small_pictures(x, SHAPE)
    assert small.shape == (1, *SHAPE)
    assert float(small.mean()) == pytest.approx(float(x.mean()), rel=1e-4)
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    assert as_small_pictures(stripes, SHAPE).sub(0.5).abs().max() < 0.05  # not every fourth column
    assert as_small_pictures(torch.ones(1, 4, 8, 8), (3, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("backbone", [CnnS(), VitT()], ids=["cnn-s", "vit-t"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 48), (4, 5, 5), (2, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_networks_take_any_pictures(backbone, shape, dtype):
    net = backbone.build(Digits.task).eval()
    x = torch.randint(0, 256, (2, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert net(x).shape == (2, 10)
    assert net(x).isfinite().all()
    assert torch.equal(net(x), net(as_small_pictures(x, SHAPE)))


def test_names_of_tensors_are_what_they_were():
    assert isinstance(CnnS().build(Digits.task).stages[0], FirstStage)
    assert next(iter(CnnS().build(Digits.task).stages[0].state_dict())) == "0.0.weight"
    assert isinstance(VitT().build(Digits.task).stages[0], Patches)
    assert list(VitT().build(Digits.task).stages[0].state_dict()) == ["positions", "embed.weight", "embed.bias"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_pictures_from_suite_to_export(
    channels: int, fixture_module: Any, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    for cls in (CnnS, VitT):
        monkeypatch.setattr(cls, "budget", lambda self: Budget(epochs=1, batch_size=256))
        monkeypatch.setattr(cls, "source", Ref.of("letters", per_class=20))
    images = fixture_module("images").tree(tmp_path / "pictures", ("ant", "bee"), 12, (20, 16))
    suite = {
        "name": "any",
        "datasets": [{"use": "folder", "train": str(images), "size": 16, "channels": channels}],
        "backbones": ["cnn-s", "vit-t"],
        "schemes": ["full", "linear-probe"],
        "fusions": ["soup", "mean-probs"],
        "budget": {"epochs": 1, "batch_size": 8},
    }
    result = finefuse.run(suite, workers=0, out=tmp_path / "out", store=tmp_path / "store", quiet=True)
    assert [row["reason"] for row in result.rows if row["status"] != "ok"] == []
    to = tmp_path / "model.pt2"
    finefuse.export(tmp_path / "out", "mean-probs", to, backbone="vit-t", store=tmp_path / "store")
    module = torch.export.load(to).module()
    x = torch.randint(0, 256, (3, channels, 16, 16), dtype=torch.uint8)
    assert module(x).shape == (3, 2)
