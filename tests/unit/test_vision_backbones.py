"""torchvision's and timm's networks: stages that are the whole of them, what they do to images, and their weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from finefuse import Classification, NotApplicable
from finefuse.nets import Net
from finefuse_zoo.backbones._catalogue import model_files
from finefuse_zoo.backbones._preprocess import Preprocess
from finefuse_zoo.backbones._stages import TORCHVISION, by_resolution, cut, with_bias
from finefuse_zoo.backbones.vision import Torchvision
from helpers.networks import TASK, models, pictures, pixels, plain, seeded

EVERY = models.list_models(module=models)
SIDES = {"maxvit_t": 224, "inception_v3": 75, "alexnet": 64, "vit_b_32": 64, "googlenet": 32}
SMALLEST = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vit_b_32",
]
STAGES = {"MaxVit": 6, "MobileNetV3": 6, "ShuffleNetV2": 4, "SqueezeNet": 4, "VGG": 7}
"""How many a family has, where it is not five."""


def quickly(name: str) -> nn.Module:
    """The same; where it is large and has no buffers, without its slow random weights."""
    if not name.startswith(("vgg", "alexnet")) or "bn" in name:
        return plain(name, **({"image_size": 64} if name == "vit_b_32" else {}))
    with torch.device("meta"):
        model = plain(name)
    model.to_empty(device="cpu")
    for p in model.parameters():
        nn.init.uniform_(p, -0.03, 0.03)
    return model


def linear_head(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def assert_same(model: nn.Module, x: torch.Tensor) -> None:
    """The stages and the head make of `x` what the model does, to the last bit."""
    model.eval()
    head = linear_head(model)
    if not head.weight.any():  # ViT's starts at zero, which would hide all before it
        nn.init.uniform_(head.weight, -0.05, 0.05)
    stages = cut(model, TORCHVISION[type(model).__name__])
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(Net(stages, head)(x), expected)
    assert expected.isfinite().all()
    assert expected[0].ne(expected[1]).any()


# ---------------------------------------------------------------------------------------------------------- the stages


@pytest.mark.parametrize("name", SMALLEST)
def test_the_stages_compute_what_torchvisions_network_does(name: str) -> None:
    assert_same(seeded(lambda: quickly(name)), pictures(side=SIDES.get(name, 32)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name not in SMALLEST and "squeezenet" not in name])
def test_the_stages_of_all_the_others_do_so_too(name: str) -> None:
    side = 28 if name == "vit_h_14" else 64
    assert_same(seeded(lambda: plain(name, **({"image_size": side} if "vit_" in name else {}))), pictures(side=side))


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks without numbers, none drawn; RegNet computes its widths with tensors, and those need theirs."""
    from torchvision.models.regnet import BlockParams

    widths = BlockParams.from_init_params

    def with_numbers(*args: Any, **options: Any) -> Any:
        with torch.device("cpu"):
            return widths(*args, **options)

    monkeypatch.setattr(BlockParams, "from_init_params", with_numbers)
    for draw in [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]:
        monkeypatch.setattr(nn.init, draw, lambda tensor, *_, **__: tensor)
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("on_meta")
def test_stages_and_head_hold_every_parameter_and_buffer_of_every_model_once() -> None:
    assert len(EVERY) >= 80
    for name in EVERY:
        model = plain(name)
        stages = cut(model, TORCHVISION[type(model).__name__])
        head = model.get_submodule("classifier.1") if name.startswith("squeezenet") else linear_head(model)
        for kind in ("parameters", "buffers"):
            apart = [id(t) for part in (*stages, head) for t in getattr(part, kind)()]
            assert len(set(apart)) == len(apart), name
            assert set(apart) == {id(t) for t in getattr(model, kind)()}, name
        assert all(next(stage.parameters(), None) is not None for stage in stages), name
        wanted = len(model.encoder.layers) + 2 if name.startswith("vit") else STAGES.get(type(model).__name__, 5)
        assert len(stages) == wanted, name


def test_every_family_has_a_line_and_every_line_a_family() -> None:
    assert {type(seeded(lambda n=n: quickly(n))).__name__ for n in ("squeezenet1_1", "resnet18")} < set(TORCHVISION)
    text = "".join(file.read_text(encoding="utf-8") for file in set(model_files().values()))
    assert set(TORCHVISION) <= set(re.findall(r"^class (\w+)\(", text, flags=re.MULTILINE))


def test_stages_end_where_the_resolution_is_reduced() -> None:
    conv, strided, pool = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 2, stride=2), nn.MaxPool2d(2)
    assert by_resolution([conv, pool, conv, nn.Sequential(strided), conv]) == [
        [conv, pool],
        [conv],
        by_strided(strided),
    ]


def by_strided(strided: nn.Module) -> Any:
    """Equal to a group of two that begins with a module around this one."""

    class Group:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, list) and len(other) == 2 and next(other[0].children()) is strided

        __hash__ = None  # type: ignore[assignment]

    return Group()


def test_squeezenets_features_are_its_pooled_map_and_its_head_is_fresh() -> None:
    backbone = Torchvision("squeezenet1_1", weights="none")
    net, model = (
        seeded(lambda: backbone.build(TASK)).eval(),
        seeded(lambda: plain("squeezenet1_1", num_classes=7)).eval(),
    )
    with torch.no_grad():
        assert torch.equal(net.features(pictures()), model.features(pictures()).mean((2, 3)))
    assert (net.head.in_features, net.head.out_features) == (512, 7)
    assert Torchvision("squeezenet1_1").head_outputs is None


def test_a_head_without_bias_gets_one_of_zeros() -> None:
    head = nn.Linear(3, 2, bias=False)
    before = head(torch.ones(1, 3))
    assert torch.equal(with_bias(head)(torch.ones(1, 3)), before)
    assert head.bias.tolist() == [0, 0]


def test_the_network_is_seeded_and_trains_to_the_last_parameter() -> None:
    backbone = Torchvision("resnet18", weights="none")
    net, same, other = (seeded(lambda: backbone.build(TASK), seed) for seed in (0, 0, 1))
    assert torch.equal(net(pictures()), same(pictures()))
    assert not torch.equal(net.head.weight, other.head.weight)
    net.train()(pictures(4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    assert (net.recipe.optimizer, net.recipe.lr, net.recipe.momentum) == ("sgd", 0.01, 0.9)


def test_transformers_are_tuned_with_adamw() -> None:
    recipe = seeded(lambda: Torchvision("swin_t", weights="none", side=32).build(TASK)).recipe
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay) == ("adamw", 1e-4, 0.05)


# ----------------------------------------------------------------------------------------------------------- the images

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_bytes_are_normalised_and_floats_are_taken_as_they_are() -> None:
    first = Preprocess(None, MEAN, STD)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(first(pixels()), (pixels().float() / 255 - mean) / std, atol=1e-6)
    assert torch.equal(first(pictures()), pictures())
    assert first.state_dict() == {}
    assert list(first.parameters()) == []


def test_half_means_from_minus_one_to_one() -> None:
    net = seeded(lambda: Torchvision("resnet18", weights="none", normalise="half").build(TASK)).eval()
    assert torch.allclose(net.stages[0][0](pixels()), pixels() / 127.5 - 1, atol=1e-6)


def test_one_channel_becomes_three_equal_ones_and_images_get_the_side() -> None:
    first = Preprocess(48, MEAN, STD)
    out = first(pictures(channels=1))
    assert out.shape == (2, 3, 48, 48)
    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.equal(first(pictures(side=48)), pictures(side=48))
    grey = torch.full((1, 3, 90, 30), 200, dtype=torch.uint8)
    assert torch.allclose(first(grey), Preprocess(None, MEAN, STD)(grey[..., :1, :1]).expand(1, 3, 48, 48), atol=1e-5)


def test_shrinking_averages_over_all_pixels() -> None:
    stripes = torch.zeros(1, 3, 96, 96)
    stripes[..., ::2] = 1.0
    assert torch.allclose(Preprocess(16, MEAN, STD)(stripes), torch.tensor(0.5), atol=0.1)


def test_what_is_done_to_images_can_be_exported() -> None:
    first = Preprocess(40, MEAN, STD)
    program = torch.export.export(first, (pixels(),), dynamic_shapes=({0: torch.export.Dim("n")},))
    assert torch.allclose(program.module()(pixels(3)), first(pixels(3)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_whole_networks_can_be_exported(name: str) -> None:
    side = SIDES.get(name, 32)
    net = seeded(lambda: Torchvision(name, weights="none").build(Classification(7, "image", (3, side, side))))
    x = pixels(3, side)
    program = torch.export.export(net.eval(), (x[:2],), dynamic_shapes=({0: torch.export.Dim("n")},))
    assert torch.allclose(program.module()(x), net(x), atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "shape", "told"),
    [
        (Torchvision("resnet18", weights="none"), (64,), "images of one or three channels, not inputs of shape"),
        (Torchvision("resnet18", weights="none"), (2, 32, 32), "images of one or three channels"),
        (Torchvision("inception_v3", weights="none"), (3, 32, 32), "inception_v3 can't take images of side 32, set"),
        (Torchvision("vit_b_16", weights="none"), (3, 32, 64), "vit_b_16 takes square images: set `side`"),
        (Torchvision("vit_b_16", weights="none", side=40), (3, 32, 32), "can't take images of side 40, set another"),
        (Torchvision("maxvit_t", weights="none", side=100), (3, 32, 32), "can't take images of side 100, set another"),
    ],
)
def test_images_it_cannot_take_are_refused_in_a_sentence(backbone: Any, shape: Any, told: str) -> None:
    with pytest.raises(NotApplicable, match=told):
        backbone.build(Classification(2, "image", shape))
