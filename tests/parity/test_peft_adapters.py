"""The adapters that come from peft against their formulas, written out here once more."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from finefuse import NotApplicable
from finefuse.engine.train.checkpoints import Curve
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net
from finefuse.types import Budget, Recipe
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.schemes.hira import Hira
from finefuse_zoo.schemes.ia3 import Ia3
from finefuse_zoo.schemes.loha import Loha
from finefuse_zoo.schemes.lokr import Lokr
from finefuse_zoo.schemes.lora import Dora, Lora, LoraPlus, RsLora
from finefuse_zoo.schemes.miss import Miss
from finefuse_zoo.schemes.vera import Vera

peft = pytest.importorskip("peft")

ALL = [Lora(), RsLora(), LoraPlus(), Dora(), Loha(), Lokr(r=2), Hira(r=3), Ia3()]
LINEAR = [Vera(r=5), Miss(r=3)]
"""Those that are for linear layers only."""
TASKS = ["POINTS", "IMAGES", "LINE"]

each = pytest.mark.parametrize("scheme", ALL, ids=lambda scheme: type(scheme).__name__)
on_each_task = pytest.mark.parametrize("task", TASKS)


class Hand(SuiteTrainer):
    """A trainer that doesn't train: it moves what it is given at random, and looks at the network before the merge."""

    def __init__(self, on, size=0.3):
        super().__init__(on.task, on.train, Budget(4, 16), seed=7)
        self.size, self.x = size, on.train.x
        self.adapters, self.start, self.kept, self.unmerged, self.norm, self.count = {}, {}, {}, None, "", 0

    def fit(self, model, groups, **how):
        rng = torch.Generator().manual_seed(1)
        params = [p for group in groups for p in group["params"]]
        self.norm, self.count = how["norm"], sum(p.numel() for p in params)
        self.start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        self.kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        for p in params:
            p.data += self.size * torch.randn(p.shape, generator=rng)
        given = {id(p) for p in params}
        self.adapters = {name: p.detach().clone() for name, p in model.named_parameters() if id(p) in given}
        self.unmerged = self.outputs(model, self.x)

    def adapter(self, layer, what):
        (found,) = [p for name, p in self.adapters.items() if name.startswith(layer) and f".{what}.default" in name]
        return found.double()

    def shared_matrix(self, what):
        return next(buffer for name, buffer in self.kept.items() if f".{what}." in name).double()


def by_hand(on, scheme, size=0.3):
    """The network as it was, its trainer, and the state before."""
    before = copy.deepcopy(on.model)
    hand = Hand(on, size)
    scheme.tune(replace(on, trainer=hand))
    return before, hand


def weights(model):
    """Names and layers that adapters go into."""
    return {name: m for name, m in model.stages.named_modules(prefix="stages") if type(m) in (nn.Linear, nn.Conv2d)}


def low_rank(a, b):
    """B A; for a convolution of two in a row the 1x1 kernel of B mixes the filters of A."""
    return torch.einsum("or,r...->o...", b.flatten(1), a)


def kronecker(first, second, shape):
    """C x D of the shape of a weight; of a convolution D is (out, in, kernel), flat behind the first side."""
    rows, columns = first.shape
    second = second.reshape(shape[0] // rows, shape[1] // columns, *shape[2:])
    made = torch.einsum("ac,bd...->abcd...", first, second)
    return made.reshape(shape)


def per_output(v, weight):
    return v.reshape(-1, *[1] * (weight.ndim - 1))


def expected(scheme, hand, name, layer):
    """The merged weight and bias by the paper's formula, in float64."""
    w, bias = layer.weight.detach().double(), layer.bias.detach().double()
    if isinstance(scheme, Ia3):
        scale = hand.adapter(name, "ia3_l").flatten()
        return w * per_output(scale, w), bias * scale
    if isinstance(scheme, Loha):
        (b1, a1), (b2, a2) = [(hand.adapter(name, f"hada_w{i}_a"), hand.adapter(name, f"hada_w{i}_b")) for i in (1, 2)]
        return w + scheme.alpha / scheme.r * ((b1 @ a1) * (b2 @ a2)).reshape(w.shape), bias
    if isinstance(scheme, Lokr):
        second = hand.adapter(name, "lokr_w2_a") @ hand.adapter(name, "lokr_w2_b")
        return w + scheme.alpha / scheme.r * kronecker(hand.adapter(name, "lokr_w1"), second, w.shape), bias
    if isinstance(scheme, Hira):
        return w * (1 + low_rank(hand.adapter(name, "hira_A"), hand.adapter(name, "hira_B"))), bias
    if isinstance(scheme, Miss):
        columns = [j % scheme.r for j in range(w.shape[1])]
        return w + hand.adapter(name, "miss_block").T[:, columns], bias
    if isinstance(scheme, Vera):
        a, b = hand.shared_matrix("vera_A")[:, : w.shape[1]], hand.shared_matrix("vera_B")[: w.shape[0]]
        outer, inner = hand.adapter(name, "vera_lambda_b"), hand.adapter(name, "vera_lambda_d")
        return w + outer[:, None] * (b @ (inner[:, None] * a)), bias
    divisor = math.sqrt(scheme.r) if isinstance(scheme, RsLora) else scheme.r
    v = w + scheme.alpha / divisor * low_rank(hand.adapter(name, "lora_A"), hand.adapter(name, "lora_B"))
    if isinstance(scheme, Dora):
        m = hand.adapter(name, "lora_magnitude_vector").flatten()
        v = v * per_output(m / v.flatten(1).norm(dim=1), v)
    return v, bias


# ------------------------------------------------------------------------------------------------------- the formulas


@on_each_task
@pytest.mark.parametrize(
    "scheme",
    [Lora(r=3, alpha=5), RsLora(r=4, alpha=2), LoraPlus(r=2), Dora(r=2), Loha(r=3, alpha=2), Hira(r=3), Ia3()],
    ids=str,
)
def test_merged_weights_are_the_formulas(lab, scheme, task):
    on = lab.tuning(getattr(lab, task))
    before, hand = by_hand(on, scheme)
    for name, layer in weights(before).items():
        weight, bias = expected(scheme, hand, name, layer)
        merged = on.model.get_submodule(name)
        assert (merged.weight.double() - weight).abs().max() < 1e-6
        assert (merged.bias.double() - bias).abs().max() < 1e-6
        assert (merged.weight - layer.weight).abs().max() > 1e-3
    assert (on.trainer.outputs(on.model, on.train.x) - hand.unmerged).abs().max() < 1e-5


@pytest.mark.parametrize("scheme", [Vera(r=5, start=0.3), Vera(r=40), Miss(r=1), Miss(r=3), Miss(r=4)], ids=str)
def test_adapters_for_linear_layers_are_the_formulas(lab, scheme):
    on = lab.tuning(lab.POINTS)
    before, hand = by_hand(on, scheme)
    assert weights(before)
    for name, layer in weights(before).items():
        weight, _ = expected(scheme, hand, name, layer)
        assert (on.model.get_submodule(name).weight.double() - weight).abs().max() < 1e-5
        assert (on.model.get_submodule(name).weight - layer.weight).abs().max() > 1e-3
    assert (on.trainer.outputs(on.model, on.train.x) - hand.unmerged).abs().max() < 1e-5
    again = lab.tuning(lab.POINTS)
    _, still = by_hand(again, scheme, size=0.0)
    assert torch.equal(still.unmerged, still.outputs(lab.tuning(lab.POINTS).model, still.x))
    with pytest.raises(NotApplicable, match="is right for none of the layers"):
        scheme.tune(lab.tuning(lab.IMAGES))


@pytest.mark.parametrize(
    "layer", [nn.Linear(12, 30), nn.Conv2d(12, 30, (1, 3)), nn.Conv2d(12, 30, 3, groups=3)], ids=str
)
def test_lokr_is_a_kronecker_product(lab, layer):
    flat = nn.Identity() if isinstance(layer, nn.Linear) else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    on = lab.tuning(lab.POINTS if isinstance(layer, nn.Linear) else lab.IMAGES)
    shape = on.task.input_shape
    first = nn.Linear(shape[0], 12) if isinstance(layer, nn.Linear) else nn.Conv2d(shape[0], 12, 3, padding=1)
    on = replace(on, model=Net([first, nn.Sequential(layer, flat)], nn.Linear(30, on.task.outputs), Recipe()).eval())
    scheme = Lokr(r=2, alpha=3, targets=re.compile(r"stages\.1\.0"))
    before, hand = by_hand(on, scheme)
    weight, _ = expected(scheme, hand, "stages.1.0", before.stages[1][0])
    assert (on.model.stages[1][0].weight.double() - weight).abs().max() < 1e-5
    assert (weight - before.stages[1][0].weight).abs().max() > 1e-3


def test_lora_plus_gives_b_a_higher_rate_and_is_lora_without(lab):
    plain, same, other = (lab.tuning(lab.IMAGES) for _ in range(3))
    Lora().tune(plain)
    LoraPlus(ratio=1.0).tune(same)
    assert lab.changed(lab.state(plain.model), same.model) == set()
    rates = {}
    other.trainer.fit = lambda _, groups, **__: rates.update(
        {g["lr"]: sorted({p.shape[0] for p in g["params"]}) for g in groups}
    )
    LoraPlus(r=3, ratio=5.0, lr=0.01).tune(other)
    assert sorted(rates) == [0.01, 0.05]
    assert rates[0.05] == sorted({layer.weight.shape[0] for layer in weights(lab.tuning(lab.IMAGES).model).values()})


@each
@on_each_task
def test_the_start_is_the_base(lab, scheme, task):
    on = lab.tuning(getattr(lab, task))
    before, hand = by_hand(on, scheme, size=0.0)
    assert torch.equal(hand.unmerged, hand.outputs(before, hand.x))
    for name, tensor in before.state_dict().items():
        bound = 1e-6 if isinstance(scheme, Dora) else 0.0
        assert (on.model.state_dict()[name] - tensor).abs().max() <= bound


class Delta(nn.Module):
    """W + (alpha / r) B A, or DoRA's weight with the norm as a constant, as a parametrisation of torch."""

    def __init__(self, scheme, hand, name, weight):
        super().__init__()
        self.scale = scheme.alpha / scheme.r
        self.a, self.b = (nn.Parameter(hand.start[f"{name}.lora_{x}.default.weight"]) for x in "AB")
        if isinstance(scheme, Dora):
            self.m = nn.Parameter(weight.detach().flatten(1).norm(dim=1))

    def forward(self, w):
        v = w + self.scale * low_rank(self.a, self.b)
        return v * per_output(self.m / v.flatten(1).norm(dim=1).detach(), v) if hasattr(self, "m") else v


@on_each_task
@pytest.mark.parametrize("scheme", [Lora(r=4), Dora(r=4, alpha=2, lr=0.03)], ids=str)
def test_training_goes_the_same_way_as_with_the_formula_in_the_place_of_the_weight(lab, scheme, task):
    task = getattr(lab, task)
    on, own = lab.tuning(task), lab.tuning(task)
    _, hand = by_hand(lab.tuning(task), scheme, size=0.0)
    scheme.tune(on)
    layers = weights(own.model)
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", Delta(scheme, hand, name, layer.weight))
    trained = [p for name, p in own.model.named_parameters() if re.search(r"parametrizations.weight.0|head", name)]
    own.trainer.fit(own.model, [{"params": trained, "lr": scheme.lr or 0.05}], norm="eval")
    for name, layer in layers.items():
        assert (on.model.get_submodule(name).weight - layer.weight).abs().max() < 1e-5
    assert (on.model.head.weight - own.model.head.weight).abs().max() < 1e-5


# --------------------------------------------------------------------------------------------- what is trained and kept


@on_each_task
def test_number_of_trained_parameters(lab, task):
    for scheme in (Lora(), RsLora(), LoraPlus(), Dora(), Loha(), Hira(r=8), Ia3()):
        before, hand = by_hand(lab.tuning(getattr(lab, task)), scheme)
        wanted = sum(p.numel() for p in before.head.parameters())
        for layer in weights(before).values():
            outputs, inputs = layer.weight.flatten(1).shape
            low = 8 * (inputs + outputs)
            wanted += {Dora: low + outputs, Loha: 2 * low, Ia3: outputs}.get(type(scheme), low)
        assert hand.count == wanted


@each
@on_each_task
def test_what_is_not_adapted_keeps_every_bit_and_the_network_is_plain_again(lab, scheme, task):
    on = lab.tuning(getattr(lab, task))
    on.model.stages.train()
    before, modules = lab.state(on.model), [(name, type(m), m.training) for name, m in on.model.named_modules()]
    attributes = set(vars(on.model))
    scheme.tune(on)
    kinds = ("weight", "bias") if isinstance(scheme, Ia3) else ("weight",)
    may = {f"{name}.{kind}" for name in weights(on.model) for kind in kinds} | {"head.weight", "head.bias"}
    assert lab.changed(before, on.model) == may
    assert list(on.model.state_dict()) == list(before)
    assert [(name, type(m), m.training) for name, m in on.model.named_modules()] == modules
    assert all(p.requires_grad for p in on.model.parameters())
    assert set(vars(on.model)) == attributes
    assert on.figures == {"adapted_layers": len(weights(on.model))}
    scheme.tune(replace(on, trainer=lab.trainer(on.task, on.train)))  # and can be adapted once more


@each
def test_weights_kept_on_the_way_fit_the_plain_network(lab, scheme):
    on, splits = lab.tuning(lab.IMAGES), lab.splits(lab.IMAGES)
    curve = Curve(on.model, splits, on.trainer.outputs, keep=True)
    on.trainer.watch_with(curve, 4)
    scheme.tune(on)
    assert curve.best is not None
    on.model.load_state_dict(curve.weights)
    assert torch.allclose(on.trainer.outputs(on.model, splits.val.x), curve.best.val, atol=1e-5)
    assert torch.equal(on.model.state_dict()["head.weight"], curve.weights["head.weight"])


@each
def test_batch_norm_is_left_alone(lab, scheme):
    assert by_hand(lab.tuning(lab.IMAGES), scheme)[1].norm == "eval"


@pytest.mark.parametrize("scheme", [Lora(alpha=0), RsLora(alpha=0), Loha(alpha=0)], ids=str)
def test_scale_0_trains_the_head_alone(lab, scheme):
    on, alone = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    scheme.tune(on)
    alone.trainer.fit(alone.model, [{"params": alone.model.head.parameters()}], norm="eval")
    assert lab.changed(before, on.model) == {"head.weight", "head.bias"}
    assert (on.model.head.weight - alone.model.head.weight).abs().max() < 1e-5


def test_rslora_is_lora_with_another_alpha_and_with_rank_1_the_same(lab):

    def tuned(scheme):
        on = lab.tuning(lab.IMAGES)
        scheme.tune(on)
        return on.model

    assert lab.changed(lab.state(tuned(Lora(r=1))), tuned(RsLora(r=1))) == set()
    assert lab.changed(lab.state(tuned(Lora(r=4, alpha=6))), tuned(RsLora(r=4, alpha=3))) == set()
    assert lab.changed(lab.state(tuned(Lora(r=4, alpha=6))), tuned(RsLora(r=4, alpha=6)))


@pytest.mark.parametrize(
    ("scheme", "changes"),
    [
        *(
            (kind(), c)
            for kind in (Lora, RsLora, Dora)
            for c in ({"r": 2}, {"alpha": 4}, {"dropout": 0.5}, {"lr": 0.1})
        ),
        *((Loha(), c) for c in ({"r": 2}, {"alpha": 4}, {"lr": 0.1})),
        (Ia3(), {"lr": 0.1}),
        *((scheme, {"targets": re.compile(r"stages\.1")}) for scheme in ALL),
    ],
    ids=str,
)
def test_every_parameter_changes_something(lab, scheme, changes):
    plain, other = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    scheme.tune(plain)
    replace(scheme, **changes).tune(other)
    assert lab.changed(lab.state(plain.model), other.model)


@pytest.mark.parametrize("scheme", [Lora(), RsLora(), Dora(), Loha()], ids=str)
def test_the_start_is_drawn_from_the_schemes_own_generator(lab, scheme):
    def starts(seed):
        on = replace(lab.tuning(lab.IMAGES), rng=torch.Generator().manual_seed(seed))
        return by_hand(on, scheme)[1].start

    one, again, other = starts(1), starts(1), starts(2)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@each
def test_tuned_networks_can_be_averaged(lab, scheme):
    ons = [lab.tuning(lab.IMAGES, seed=seed) for seed in (1, 2)]
    for on in ons:
        scheme.tune(on)
    soup = Soup().fuse(lab.fusing([on.model for on in ons], lab.IMAGES))
    one, two, mean = (net.get_submodule("stages.0.0").weight for net in (ons[0].model, ons[1].model, soup))
    assert not torch.equal(one, two)
    assert torch.allclose(mean, (one + two) / 2, atol=1e-7)


def test_adapters_train_at_the_recipe_s_rate_for_them(lab):
    rates = []
    for recipe in (Recipe("sgd", lr=0.05), Recipe("sgd", lr=0.05, lr_of_adapters=0.01)):
        on = lab.tuning(lab.IMAGES)
        on.model.recipe = recipe
        on.trainer.fit = lambda _, groups, **__: rates.extend(group["lr"] for group in groups)
        Lora().tune(on)
    assert rates == [0.05, 0.01]
