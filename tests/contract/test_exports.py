"""Every fusion, backbone and adapter of the zoo can be exported, for any batch size, and still gives its outputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finefuse import FinefuseError, NotApplicable, Ref, Task, nets, testing
from finefuse.deploy.formats import traced, write
from finefuse.discovery.registry import Registry
from finefuse.nets import Net, evaluation

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
FUSIONS = [one.entry.name for one in REGISTRY.entries("fusion")]
USUAL = {"stacking", "gate", "soup"}
"""One of each level; the others, which are built of the same parts, are tried with `-m slow`."""
NO_ONNX = {"knora": "ONNX has no cumulative product"}
"""Fusions that ONNX can't express, and why."""
ADAPTERS = ["feature-tune", "side-tune", "lora", "dora", "loha", "ia3"]
NETWORKS = {"cnn-s": testing.IMAGES, "vit-t": testing.IMAGES, "mlp-s": testing.POINTS}
SIZES = (1, 3, 8)


@pytest.fixture(scope="module")
def members() -> dict[Task, list[Net]]:
    return {task: testing.small_members(task) for task in testing.TASKS}


def fused(name: str, task: Task, members: dict[Task, list[Net]]) -> nn.Module:
    """What the fusion gives for three members, as it is deployed."""
    fusion = REGISTRY.build("fusion", Ref.of(name))
    if not testing.is_for(fusion, task):
        raise NotApplicable(f"{name} is not for {task.kind}")
    model: nn.Module = fusion.fuse(testing.small_fusing(members[task], task, fusion.needs))
    if isinstance(model, nets.CombineOutputs):
        model.materialise()
    return model.eval()


def first_task(name: str, members: dict[Task, list[Net]]) -> Task:
    """Points to classify, or, for what is for regression only, a line."""
    try:
        fused(name, testing.POINTS, members)
    except NotApplicable:
        return testing.LINE
    return testing.POINTS


def same_outputs(model: nn.Module, x: Tensor, file: Path) -> None:
    """The file is a graph for any batch size that gives the module's outputs."""
    written = write(model, x, file)
    assert written.fixed == ""
    with evaluation(model):
        for size in SIZES:
            expected = model(x[:size])
            torch.testing.assert_close(run(file, x[:size]), expected, atol=1e-5, rtol=1e-5)


def run(file: Path, x: Tensor) -> Tensor:
    if file.suffix == ".pt2":
        outputs: Tensor = torch.export.load(file).module()(x)
        return outputs
    runtime = pytest.importorskip("onnxruntime", reason="what ONNX files are tried with")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def some(names: Iterable[str], usual: Iterable[str]) -> list[Any]:
    return [name if name in usual else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some(FUSIONS, USUAL))
def test_a_fusion_becomes_a_graph(name: str, members: dict[Task, list[Net]], tmp_path: Path) -> None:
    task = first_task(name, members)
    same_outputs(fused(name, task, members), testing.small_splits(task).test.x, tmp_path / "model.pt2")


@pytest.mark.slow
@pytest.mark.parametrize("task", testing.TASKS[1:], ids=["images", "line"])
@pytest.mark.parametrize("name", FUSIONS)
def test_so_it_does_on_other_tasks(name: str, task: Task, members: dict[Task, list[Net]], tmp_path: Path) -> None:
    try:
        model = fused(name, task, members)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    same_outputs(model, testing.small_splits(task).test.x, tmp_path / "model.pt2")


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_can_be_written_as_onnx(name: str, members: dict[Task, list[Net]], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="what ONNX files are written with")
    task, file = first_task(name, members), tmp_path / "model.onnx"
    model, x = fused(name, task, members), testing.small_splits(first_task(name, members)).test.x
    if name in NO_ONNX:
        with pytest.raises(FinefuseError, match=r"^ONNX can't express it \(.*\); export it to a \.pt2 file\.$"):
            write(model, x, file)
    else:
        same_outputs(model, x, file)


def test_the_exceptions_are_fusions_that_exist() -> None:
    assert NO_ONNX.keys() | USUAL <= set(FUSIONS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_backbone_becomes_a_graph(name: str, tmp_path: Path) -> None:
    task = NETWORKS[name]
    torch.manual_seed(0)
    net = REGISTRY.build("backbone", Ref.of(name)).build(task).eval()
    same_outputs(net, testing.small_splits(task).test.x, tmp_path / "model.pt2")


@pytest.mark.parametrize("name", some(ADAPTERS, ["side-tune"]))
def test_a_network_with_added_modules_becomes_a_graph(name: str, tmp_path: Path) -> None:
    if REGISTRY.find("scheme", name).missing:
        pytest.skip("needs peft")
    scheme = REGISTRY.build("scheme", Ref.of(name))
    on = testing.prepared(scheme, testing.POINTS, epochs=1)
    scheme.tune(on)
    same_outputs(on.model.eval(), testing.small_splits().test.x, tmp_path / "model.pt2")


def test_what_a_network_does_to_its_images_is_in_the_graph(tmp_path: Path) -> None:
    from finefuse_zoo.backbones._preprocess import Preprocess

    torch.manual_seed(0)
    first = Preprocess(12, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    stages = [first, nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten())]
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    same_outputs(Net(stages, nn.Linear(100, 3)).eval(), images, tmp_path / "model.pt2")


def test_nothing_of_the_examples_or_the_source_tree_is_in_the_graph() -> None:
    program, _ = traced(testing.small_net(), testing.small_splits().test.x)
    (examples,), _ = program.example_inputs
    assert not examples.any()
    assert not any("stack_trace" in node.meta for node in program.graph.nodes)
