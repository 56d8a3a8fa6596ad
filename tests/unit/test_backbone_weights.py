"""Weights of backbones by name or from a file: safely read, complete, adapted, and told apart."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from finefuse import Classification, FinefuseError, Ref
from finefuse.declare.facts import Facts
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.backbones import _weights
from finefuse_zoo.backbones._catalogue import model_files, weights_of
from finefuse_zoo.backbones._preprocess import Preprocess
from finefuse_zoo.backbones._pretrained import IMAGENET
from finefuse_zoo.backbones.vision import FEATURES_ONLY, Torchvision
from helpers.networks import TASK, models, pictures, pixels, plain, seeded, written

EVERY = models.list_models(module=models)
DATA = Path(os.environ.get("FINEFUSE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
real = pytest.mark.skipif(not (DATA / "weights").is_dir(), reason=f"no pretrained weights in {DATA}")
REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)

SMALL = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """What a file of SMALL holds, with a head of five."""
    return {name: t.clone() for name, t in seeded(lambda: plain(SMALL, num_classes=5), 3).state_dict().items()}


@pytest.mark.parametrize("how", ["flat.pth", "flat.safetensors", "prefixed.pth", "nested.pth", "both.th"])
def test_a_file_gives_the_network_that_wrote_it_head_included(how: str, state: Any, tmp_path: Path) -> None:
    content = state
    if how in ("prefixed.pth", "both.th"):
        content = {f"module.{name}": tensor for name, tensor in content.items()}
    if how in ("nested.pth", "both.th"):
        content = {"epoch": 3, "state_dict" if how == "both.th" else "model": content}
    backbone = Torchvision(SMALL, file=written(content, tmp_path / how), classes=5)
    net = backbone.build(Classification(5, "image", (3, 32, 32))).eval()
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
        backbone.build(Classification(1000, "image", (3, 32, 32)))


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
    monkeypatch.setattr(_weights, "read", lambda *_: state)
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
        assert torch.allclose(net.features(pixels()), model(Preprocess(None, *IMAGENET)(pixels())), atol=1e-5)


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
    net = backbone.build(Classification(1000, "image", (3, 32, 32))).eval()
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
        assert Facts(REGISTRY).parameters_of("backbone", name, Path) == {"file"}


def test_reading_and_keying_imports_no_torch() -> None:
    code = (
        "import sys; from finefuse_zoo.backbones.vision import Torchvision as T; t = T('resnet50')"
        "; t.fingerprint(), t.head_outputs, t.budget(), t.source; from finefuse_zoo.backbones.timm_models import Timm"
        "; Timm().fingerprint(); sys.exit(bool({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --------------------------------------------------------------------------------------------------------- real weights


@real
@pytest.mark.parametrize(("name", "normalise"), [("mobilenet_v2", "half"), ("squeezenet1_1", "imagenet")])
def test_published_weights_give_torchvisions_outputs(name: str, normalise: Any) -> None:
    file = DATA / "weights" / f"{name}-imagenet.pth"
    net = Torchvision(name, file=file, normalise=normalise).build(Classification(1000, "image", (3, 97, 97))).eval()
    model = plain(name).eval()
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    x = net.stages[0][0](pixels(side=97))
    with torch.no_grad():
        if name == "mobilenet_v2":
            assert torch.equal(net(pixels(side=97)), model(x))
        else:
            assert torch.equal(net.features(pixels(side=97)), model.features(x).mean((2, 3)))
