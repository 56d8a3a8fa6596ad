"""torchvision's and timm's networks: stages that are the whole of them, what they do to images, and their weights."""

from __future__ import annotations

import copy
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finefuse import FinefuseError, NotApplicable, Ref, Task
from finefuse.declare.facts import Facts
from finefuse.errors import ParameterError
from finefuse.nets import Net
from finefuse.registry import Registry
from finefuse_zoo.backbones import _weights
from finefuse_zoo.backbones._catalogue import model_files, weights_of
from finefuse_zoo.backbones._preprocess import Preprocess
from finefuse_zoo.backbones._stages import TORCHVISION, by_resolution, cut, with_bias
from finefuse_zoo.backbones.timm_models import Timm
from finefuse_zoo.backbones.vision import FEATURES_ONLY, Torchvision

models = pytest.importorskip("torchvision.models")
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
TASK = Task("classification", 7, "image", (3, 32, 32))
DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
real = pytest.mark.skipif(not (DATA / "weights").is_dir(), reason=f"no pretrained weights in {DATA}")
REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)


def pictures(n: int = 2, side: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def pixels(n: int = 2, side: int = 32, channels: int = 3) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=rng, dtype=torch.uint8)


def seeded(build: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def plain(name: str, **options: Any) -> nn.Module:
    """torchvision's own model, without auxiliary heads."""
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True} | options
    return models.get_model(name, weights=None, **options)  # type: ignore[no-any-return]


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
    net = seeded(lambda: Torchvision(name, weights="none").build(Task("classification", 7, "image", (3, side, side))))
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
        backbone.build(Task("classification", 2, "image", shape))


# ---------------------------------------------------------------------------------------------------------- the weights

SMALL = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """What a file of SMALL holds, with a head of five."""
    return {name: t.clone() for name, t in seeded(lambda: plain(SMALL, num_classes=5), 3).state_dict().items()}


def written(state: Any, file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


@pytest.mark.parametrize("how", ["flat.pth", "flat.safetensors", "prefixed.pth", "nested.pth", "both.th"])
def test_a_file_gives_the_network_that_wrote_it_head_included(how: str, state: Any, tmp_path: Path) -> None:
    content = state
    if how in ("prefixed.pth", "both.th"):
        content = {f"module.{name}": tensor for name, tensor in content.items()}
    if how in ("nested.pth", "both.th"):
        content = {"epoch": 3, "state_dict" if how == "both.th" else "model": content}
    backbone = Torchvision(SMALL, file=written(content, tmp_path / how), classes=5)
    net = backbone.build(Task("classification", 5, "image", (3, 32, 32))).eval()
    model = plain(SMALL, num_classes=5).eval()
    model.load_state_dict(state)
    assert backbone.head_outputs == 5
    with torch.no_grad():
        assert torch.equal(net(pictures()), model(pictures()))


@pytest.mark.parametrize("classes", [5, 0, 1000])
def test_for_another_number_of_classes_the_head_is_fresh_and_the_rest_is_not(
    classes: int, state: Any, tmp_path: Path
) -> None:
    backbone = Torchvision(SMALL, file=written(state, tmp_path / "w.pth"), classes=classes)
    net = seeded(lambda: backbone.build(TASK))
    assert net.head.weight.shape == (7, 1024)
    assert torch.equal(net.stages[-1][0].weight, state["classifier.0.weight"])
    assert backbone.head_outputs == (classes or None)


def test_a_file_need_not_have_the_head_that_is_not_used(state: Any, tmp_path: Path) -> None:
    headless = {name: t for name, t in state.items() if not name.startswith("classifier.3")}
    assert Torchvision(SMALL, file=written(headless, tmp_path / "w.pth"), classes=0).build(TASK)


def test_a_source_head_of_another_size_is_told_and_not_made_up(state: Any, tmp_path: Path) -> None:
    backbone = Torchvision(SMALL, file=written(state, tmp_path / "w.pth"))
    with pytest.raises(FinefuseError, match="has a head of 5 outputs: say classes = 5, or 0 to leave it out"):
        backbone.build(Task("classification", 1000, "image", (3, 32, 32)))


def test_missing_unknown_and_misshapen_tensors_are_listed_together(state: Any, tmp_path: Path) -> None:
    broken = {name: t for name, t in state.items() if not name.startswith("features.0.")}
    broken["classifier.0.weight"], broken["fc.bias"] = torch.zeros(2, 3), torch.zeros(1)
    with pytest.raises(FinefuseError) as error:
        Torchvision(SMALL, file=written(broken, tmp_path / "w.pth")).build(TASK)
    told = str(error.value)
    assert "5 missing (features.0.0.weight, features.0.1.weight, features.0.1.bias, ...)" in told
    assert "1 not known (fc.bias)" in told
    assert "1 of another shape (classifier.0.weight is 2x3 instead of 1024x576)" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"state_dict": {"a": 1}}, "holds no state dict: a is no tensor"),
        (torch.zeros(3), "holds no state dict, but a Tensor"),
        ({"model": nn.Linear(1, 1)}, "damaged or holds more than tensors, and nothing else is unpickled"),
    ],
)
def test_a_file_of_something_else_is_refused(content: Any, told: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(FinefuseError, match=told):
        _weights.read(tmp_path / "w.pth")


class Evil:
    def __reduce__(self) -> Any:
        return (os.system, ("touch owned",))


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "w.pth")
    with pytest.raises(FinefuseError, match="nothing else is unpickled"):
        _weights.read(Path("w.pth"))
    assert not Path("owned").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_damaged_or_missing_file_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    backbone = Torchvision(SMALL, file=file)
    for ask in (backbone.fingerprint, lambda: backbone.build(TASK)):
        with pytest.raises(FinefuseError, match=re.escape(f"the weights file {file} does not exist")):
            ask()
    file.write_bytes(b"no weights at all")
    with pytest.raises(FinefuseError, match=re.escape(f"the weights file {file} ")):
        backbone.build(TASK)


def test_counters_of_batchnorm_may_be_missing_and_old_names_are_known(state: Any) -> None:
    model = plain(SMALL, num_classes=5)
    _weights.fit(model, {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}, "old")
    assert torch.equal(model.classifier[0].weight, state["classifier.0.weight"])
    with torch.device("meta"):
        dense, vit = plain("densenet121").state_dict(), plain("vit_b_32").state_dict()
    block = "features.denseblock1.denselayer1."
    assert _weights._renamed(f"{block}norm.1.weight", dense) == f"{block}norm1.weight"
    layer = "encoder.layers.encoder_layer_0.mlp"
    assert _weights._renamed(f"{layer}.linear_2.bias", vit) == f"{layer}.3.bias"


def test_vits_positions_are_interpolated_to_another_side(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        trained = plain("vit_b_32", image_size=64, num_classes=2).state_dict()
    state = {name: torch.tensor(0.5).expand(t.shape) for name, t in trained.items()}
    monkeypatch.setattr(_weights, "read", lambda _: state)
    net = Torchvision("vit_b_32", file=Path("w.pth"), classes=2, side=96).build(TASK)
    assert net.stages[0][1].pos_embedding.shape == (1, 10, 768)
    assert torch.allclose(net.stages[0][1].pos_embedding, torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("normalise", ["own", "half"])
def test_googlenet_with_weights_sees_what_it_was_trained_on(normalise: Any, tmp_path: Path) -> None:
    source = seeded(lambda: models.googlenet(weights=None, num_classes=5, init_weights=True), 1)
    file = written(source.state_dict(), tmp_path / "w.pth")
    net = Torchvision("googlenet", file=file, classes=5, normalise=normalise).build(TASK).eval()
    model = plain("googlenet", num_classes=5, transform_input=True).eval()
    model.load_state_dict({name: t for name, t in source.state_dict().items() if not name.startswith("aux")})
    model.fc = nn.Identity()
    with torch.no_grad():
        assert torch.allclose(net.features(pixels()), model(Preprocess(None, MEAN, STD)(pixels())), atol=1e-5)


def test_the_digest_is_of_the_content_and_read_once(tmp_path: Path, state: Any) -> None:
    one, two = (Torchvision(SMALL, file=written(state, tmp_path / name)) for name in ("a.pth", "a.safetensors"))
    assert len(one.fingerprint()) == 64
    assert one.fingerprint() != two.fingerprint()
    known = _weights._digest.cache_info().misses
    assert one.fingerprint() == one.fingerprint()
    assert _weights._digest.cache_info().misses == known
    assert two.file is not None
    two.file.write_bytes(b"other content")
    assert Torchvision(SMALL, file=two.file).fingerprint() == _weights.digest_of(two.file) != one.fingerprint()


def test_named_weights_are_told_apart_by_version_and_name() -> None:
    import torchvision

    version = torchvision.__version__.partition("+")[0]
    new, default, old = (
        Torchvision("resnet50", weights=w).fingerprint() for w in ("IMAGENET1K_V2", "default", "IMAGENET1K_V1")
    )
    assert new == default != old
    assert new.startswith(f"torchvision {version}")
    assert new.endswith(" IMAGENET1K_V2")
    assert Torchvision("resnet50", weights="none").fingerprint() == ""


def test_named_weights_come_from_torchs_cache_with_their_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    backbone = Torchvision("shufflenet_v2_x0_5", weights="IMAGENET1K_V1")
    url = models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url
    trained = seeded(lambda: plain("shufflenet_v2_x0_5"), 4).eval()
    torch.save(trained.state_dict(), tmp_path / "checkpoints" / url.rpartition("/")[2])
    assert backbone.head_outputs == 1000
    net = backbone.build(Task("classification", 1000, "image", (3, 32, 32))).eval()
    with torch.no_grad():
        assert torch.equal(net(pictures()), trained(pictures()))
    assert torch.equal(backbone.build(TASK).stages[1][0][0].branch1[0].weight, trained.stage2[0].branch1[0].weight)


def test_without_a_network_the_missing_file_and_its_place_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def no_network(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(FinefuseError) as error:
        Torchvision("resnet18").build(TASK)
    assert "resnet18 needs the file resnet18-f37072fd.pth" in str(error.value)
    assert f"put it into {tmp_path / 'checkpoints'}" in str(error.value)


def test_the_catalogue_is_torchvisions_own() -> None:
    assert sorted(model_files()) == EVERY
    for name in EVERY:
        theirs = models.get_model_weights(name)
        assert weights_of(name) == {key: member.name for key, member in theirs.__members__.items()}
        heads = {len(w.meta["categories"]) for w in theirs if w.name != FEATURES_ONLY}
        assert heads == {1000}, name


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"model": "resnet81"}, "torchvision has no classification model 'resnet81'; did you mean 'resnet18'?"),
        (
            {"model": "resnet18", "weights": "IMAGENET1K_V2"},
            "no weights 'IMAGENET1K_V2' for resnet18, only IMAGENET1K_V1",
        ),
        ({"model": "vgg16", "weights": FEATURES_ONLY}, "only IMAGENET1K_V1, default, none"),
        ({"weights": "here/w.pth"}, "weights = 'here/w.pth' looks like a file: say file = 'here/w.pth' instead"),
        ({"weights": "none", "file": "w.pth"}, "weights come from the file or are 'none', not both"),
        ({"weights": "none", "keep_head": True}, "keep_head needs weights that come with a head"),
        ({"model": "squeezenet1_0", "keep_head": True}, "keep_head needs weights that come with a head"),
        ({"side": 0}, "side must be greater than or equal to 1"),
    ],
)
def test_wrong_parameters_are_told_before_anything_is_loaded(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(told)):
        REGISTRY.build("backbone", Ref.of("torchvision", **params))


def test_the_file_is_a_path_that_suites_anchor() -> None:
    for name in ("torchvision", "timm"):
        assert Facts(REGISTRY).path_parameters("backbone", name) == {"file"}


def test_reading_and_keying_imports_no_torch() -> None:
    code = (
        "import sys; from finefuse_zoo.backbones.vision import Torchvision as T; t = T('resnet50')"
        "; t.fingerprint(), t.head_outputs, t.budget(), t.source; from finefuse_zoo.backbones.timm_models import Timm"
        "; Timm().fingerprint(); sys.exit(bool({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


# --------------------------------------------------------------------------------------------------------- real weights


@real
@pytest.mark.parametrize(("name", "normalise"), [("mobilenet_v2", "half"), ("squeezenet1_1", "imagenet")])
def test_published_weights_give_torchvisions_outputs(name: str, normalise: Any) -> None:
    file = DATA / "weights" / f"{name}-imagenet.pth"
    net = (
        Torchvision(name, file=file, normalise=normalise)
        .build(Task("classification", 1000, "image", (3, 97, 97)))
        .eval()
    )
    model = plain(name).eval()
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    x = net.stages[0][0](pixels(side=97))
    with torch.no_grad():
        if name == "mobilenet_v2":
            assert torch.equal(net(pixels(side=97)), model(x))
        else:
            assert torch.equal(net.features(pixels(side=97)), model.features(x).mean((2, 3)))


# ----------------------------------------------------------------------------------------------------------------- timm

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
    net = seeded(lambda: Timm(name, weights="none").build(Task("classification", 7, "image", (3, side, side)))).eval()
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
    net = backbone.build(Task("classification", 5, "image", (3, 160, 160))).eval()
    with torch.no_grad():
        assert torch.equal(net(pictures(side=160)), trained(pictures(side=160)))
    smaller = backbone.build(Task("classification", 3, "image", (1, 64, 64))).eval()
    assert smaller(pixels(side=64, channels=1)).shape == (2, 3)
    with pytest.raises(FinefuseError, match="has a head of 5 outputs: say classes = 5"):
        Timm("test_vit", file=file).build(Task("classification", 1000, "image", (3, 160, 160)))


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
