"""Every built-in scheme on four real networks, two of them torchvision's: a few steps, and finite outputs."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from finefuse import NotApplicable, Ref, testing
from finefuse.discovery.registry import Registry
from finefuse.engine.randomness import seeded
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net, evaluation
from finefuse.types import Budget, Splits, Tuning

VISION = Path(__file__).parents[1] / "fixtures" / "plugins" / "vision.py"
REGISTRY = Registry(("finefuse_zoo.hooks", str(VISION)), entry_points=False)
CONVOLUTIONAL = ("cnn-s", "resnet18", "mobilenet-v2")
"""With `-m slow`: the kit's own images go through convolutions and BatchNorm by default."""
NETWORKS = ["vit-t", *(pytest.param(name, marks=pytest.mark.slow) for name in CONVOLUTIONAL)]
OWN = ("resnet18", "mobilenet-v2")
"""Networks that take the pictures as they are; the zoo's own take small grey ones."""
EXAMPLES: dict[str, dict[str, Any]] = {
    "chain": {"of": ["linear-probe", "discriminative"], "plus": ["l2-sp"]},
    "frozen-head": {"of": "full"},
}
SCHEMES = [one for one in REGISTRY.entries("scheme") if one.entry.name not in ("search", "as-is", "from-file")]


@cache
def pictures(network: str, outputs: int) -> Splits:
    size = {} if network in OWN else {"channels": 1, "side": 8}
    return REGISTRY.build("dataset", Ref.of("pictures", outputs=outputs, **size)).splits(outputs)


@cache
def pretrained(network: str) -> Net:
    """With statistics of BatchNorm that have seen the five classes of the source."""
    source = pictures(network, 5)
    with seeded(0), torch.no_grad():
        net = REGISTRY.build("backbone", Ref(network)).build(source.task)
        net.train()(source.train.x)
    return net.eval()


def tuning(network: str, scheme: Any) -> Tuning:
    splits, original = pictures(network, 3), pretrained(network)
    model = copy.deepcopy(original)
    with seeded(1):
        model.replace_head(splits.task.outputs)
        if hasattr(scheme, "prepare"):
            scheme.prepare(model)
    return replace(
        testing.small_tuning(),
        task=splits.task,
        model=model,
        pretrained=original,
        trainer=SuiteTrainer(splits.task, splits.train, Budget(epochs=2, batch_size=4), seed=0),
        train=splits.train,
        val=splits.val,
        source=pictures(network, 5).train,
    )


def refusal(scheme: Any, on: Tuning) -> str | None:
    """Tune; the reason if the scheme can't."""
    try:
        scheme.tune(on)
    except NotApplicable as reason:
        return str(reason)
    return None


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("one", SCHEMES, ids=[one.entry.name for one in SCHEMES])
def test_a_few_steps_keep_the_budget_and_give_finite_outputs(network: str, one: Any) -> None:
    if network in OWN:
        pytest.importorskip("torchvision")
    if one.missing:
        pytest.skip(f"{one.entry.name} {one.missing}")
    scheme = REGISTRY.build("scheme", Ref.of(one.entry.name, **EXAMPLES.get(one.entry.name, {})))
    on = tuning(network, scheme)
    original = testing.snapshot(on.pretrained)
    reason = refusal(scheme, on)
    if reason is not None:
        assert len(reason.split()) > 3
        pytest.skip(reason)
    assert on.trainer.spent <= on.trainer.budget == 6
    assert not testing.changed(original, on.pretrained)
    with evaluation(on.model):
        outputs = on.model(on.val.x)
    assert outputs.shape == (12, 3)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("network", NETWORKS)
def test_stages_and_head_hold_every_parameter_and_buffer_once(network: str) -> None:
    if network in OWN:
        pytest.importorskip("torchvision")
    net = pretrained(network)
    for kind in ("parameters", "buffers"):
        apart = [id(t) for part in [*net.stages, net.head] for t in getattr(part, kind)()]
        assert len(set(apart)) == len(apart)
        assert set(apart) == {id(t) for t in getattr(net, kind)()}
    assert all(next(stage.parameters(), None) is not None for stage in net.stages)


@pytest.mark.slow
@pytest.mark.parametrize("network", OWN)
def test_the_plugins_networks_compute_what_torchvisions_do(network: str) -> None:
    models = pytest.importorskip("torchvision.models")
    task = pictures(network, 3).task
    with seeded(0):
        ours = REGISTRY.build("backbone", Ref(network)).build(task).eval()
    with seeded(0):
        theirs = getattr(models, network.replace("-", "_"))(num_classes=3).eval()
    x = pictures(network, 3).val.x
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)
