"""timm's networks: stages that are the whole of them, and their weights."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finefuse import Classification, FinefuseError
from finefuse_zoo.backbones._stages import cut_timm
from finefuse_zoo.backbones.timm_models import Timm
from helpers.networks import TASK, pictures, pixels, seeded, written

TIMM = {
    "test_convnext": 5,
    "test_efficientnet": 6,
    "test_resnet": 5,
    "test_vit": 8,
    "mobilenetv3_small_050": 7,
    "regnetx_002": 5,
    "test_byobnet": 1,
}


def of_timm(name: str, **options: Any) -> nn.Module:
    return pytest.importorskip("timm").create_model(name, **options).eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "name", [*TIMM, *(pytest.param(n, marks=pytest.mark.slow) for n in ("swin_tiny_patch4_window7_224", "vgg11"))]
)
def test_timms_networks_compute_the_same_in_stages(name: str) -> None:
    model = seeded(lambda: of_timm(name, num_classes=7))
    side = model.pretrained_cfg["input_size"][-1]
    net = seeded(lambda: Timm(name, weights="none").build(Classification(7, "image", (3, side, side)))).eval()
    x = pictures(side=side)
    with torch.no_grad():
        assert torch.equal(net(x), model(x))
        assert torch.equal(copy.deepcopy(net)(x), model(x))
    parts = [id(p) for part in (*net.stages, net.head) for p in part.parameters()]
    assert len(set(parts)) == len(parts)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in model.parameters())
    assert len(net.stages) == TIMM.get(name, len(net.stages))


def test_a_file_for_timm_is_adapted_to_the_side_and_loaded_with_its_head(tmp_path: Path) -> None:
    trained = seeded(lambda: of_timm("test_vit", num_classes=5), 2)
    file = written({"state_dict": trained.state_dict()}, tmp_path / "w.pth")
    backbone = Timm("test_vit", file=file, classes=5)
    net = backbone.build(Classification(5, "image", (3, 160, 160))).eval()
    with torch.no_grad():
        assert torch.equal(net(pictures(side=160)), trained(pictures(side=160)))
    smaller = backbone.build(Classification(3, "image", (1, 64, 64))).eval()
    assert smaller(pixels(side=64, channels=1)).shape == (2, 3)
    with pytest.raises(FinefuseError, match="has a head of 5 outputs: say classes = 5"):
        Timm("test_vit", file=file).build(Classification(1000, "image", (3, 160, 160)))


def test_timms_bad_names_and_heads_are_told() -> None:
    pytest.importorskip("timm")
    for backbone, told in (
        (Timm("resnet81"), "timm has no model 'resnet81'; did you mean 'resnet18'?"),
        (Timm("resnet18", weights="mine"), "timm has no weights 'mine' for resnet18"),
        (Timm("levit_128s", weights="none", side=224), "levit_128s of timm has no linear classifier, but a tuple"),
        (Timm("test_vit", weights="none", side=50), "can't take images of side 50"),
    ):
        with pytest.raises(FinefuseError, match=re.escape(told)):
            backbone.build(TASK)


def test_timms_weights_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = pytest.importorskip("timm.models._builder")

    def no_network(*_: object, **__: object) -> None:
        raise FileNotFoundError("not in the local cache\nand more")

    monkeypatch.setattr(builder, "load_state_dict_from_hf", no_network)
    with pytest.raises(FinefuseError) as error:
        Timm("test_resnet").build(TASK)
    where = "the weights of test_resnet can't be had from timm/test_resnet.r160_in1k (not in the local cache)"
    assert str(error.value) == f"{where}: fetch them once with a network, or give their file as `file`"


def test_timms_own_normalisation_is_that_of_its_weights() -> None:
    config = pytest.importorskip("timm").get_pretrained_cfg("test_vit")
    net = Timm("test_vit", weights="none", side=64).build(TASK)
    assert net.stages[0][0].mean.flatten().tolist() == pytest.approx(list(config.mean))
    assert math.isclose(float(net.stages[0][0].std[0]), config.std[0], rel_tol=1e-6)


def test_volo_is_one_stage_without_its_head_for_tokens() -> None:
    import timm

    small = {"embed_dims": (24, 24, 24, 24), "num_heads": (2, 2, 2, 2), "layers": (1, 1, 1, 1), "stem_hidden_dim": 8}
    model = seeded(lambda: timm.models.volo.VOLO(img_size=32, num_classes=3, **small)).eval()
    head, x = model.get_classifier(), pictures(side=32)
    with torch.no_grad():
        expected = head(model.forward_head(model.forward_features(x), pre_logits=True))
        stages = cut_timm(model, head)
        assert len(stages) == 1
        assert torch.equal(head(stages[0](x)), expected)
        assert stages[0].train()(x).shape == (len(x), head.in_features)
