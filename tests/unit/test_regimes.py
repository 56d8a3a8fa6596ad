"""Which parameters each scheme trains, at which rate, with which weight decay."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from finefuse.errors import NotApplicable
from finefuse_zoo.schemes.bitfit import BitFit
from finefuse_zoo.schemes.discriminative import Discriminative
from finefuse_zoo.schemes.elastic import Elastic
from finefuse_zoo.schemes.feature_tune import FeatureTune
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.head_sgd import HeadSgd
from finefuse_zoo.schemes.l1 import L1
from finefuse_zoo.schemes.l1_sp import L1Sp
from finefuse_zoo.schemes.l2 import L2
from finefuse_zoo.schemes.l2_sp import L2Sp
from finefuse_zoo.schemes.layer_decay import LayerDecay
from finefuse_zoo.schemes.norm_tune import NormTune
from finefuse_zoo.schemes.scratch import Scratch
from finefuse_zoo.schemes.selective import Selective
from finefuse_zoo.schemes.side_tune import SideTune
from finefuse_zoo.schemes.two_rate import TwoRate

WHOLE = [Full, Discriminative, LayerDecay, TwoRate, L2, L1, Elastic, L2Sp, L1Sp, Scratch]
PARTS = [Selective, BitFit, NormTune]
WITHOUT_STATISTICS = {"norm": "affine"}


def table(on, scheme) -> dict[str, tuple[float, float | None]]:
    """Rate and weight decay by parameter, as the trainer is asked for them; each parameter may be named once."""
    names = {id(p): name for name, p in on.model.named_parameters()}
    asked = {}

    def fit(model, groups, **how):
        for group in groups:
            for p in group["params"]:
                assert names[id(p)] not in asked
                asked[names[id(p)]] = (group["lr"], group.get("weight_decay"))

    on.trainer.fit = fit
    scheme.tune(on)
    return asked


def rate_by_part(asked) -> dict[str, float]:
    """The one rate of each stage and the head."""
    rates = {}
    for name, (rate, _) in asked.items():
        assert rates.setdefault(".".join(name.split(".")[:2]) if name.startswith("stages") else "head", rate) == rate
    return rates


def tuned(lab, task, scheme):
    on = lab.tuning(task)
    scheme.tune(on)
    return on.model


def same_bits(lab, one, other) -> bool:
    return not lab.changed(lab.state(one), other)


@pytest.fixture(scope="module")
def network(lab):
    """What a scheme makes of images; each is tuned once."""
    return cache(lambda scheme: tuned(lab, lab.IMAGES, scheme))


# ------------------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("scheme", WHOLE)
def test_every_parameter_is_trained_in_exactly_one_group(lab, scheme):
    on = lab.tuning(lab.IMAGES)
    assert set(table(on, scheme())) == {name for name, _ in on.model.named_parameters()}


@pytest.mark.parametrize("scheme", [scheme for scheme in WHOLE + PARTS if scheme is not Scratch])
def test_a_rate_next_to_nothing_leaves_the_network_as_it_was(lab, scheme):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    scheme(lr=1e-30, **({} if scheme in (BitFit, NormTune) else WITHOUT_STATISTICS)).tune(on)
    assert all(torch.allclose(t, before[name], rtol=0, atol=1e-25) for name, t in on.model.state_dict().items())


@pytest.mark.parametrize(
    ("scheme", "other"),
    [
        (Discriminative(), Discriminative(factor=2.0)),
        (Discriminative(), Discriminative(spread="geometric")),
        (Discriminative(spread="geometric"), Discriminative(spread="geometric", ratio=10.0)),
        (LayerDecay(), LayerDecay(decay=0.5)),
        (LayerDecay(), LayerDecay(min_scale=0.9)),
        (TwoRate(), TwoRate(ratio=0.2)),
        (L2(), L2(strength=0.1)),
        (L1(), L1(strength=0.1)),
        (Elastic(), Elastic(l1=0.1)),
        (Elastic(), Elastic(l2=0.1)),
        (L2Sp(), L2Sp(alpha=0.1)),
        (L2Sp(), L2Sp(beta=0.1)),
        (L1Sp(), L1Sp(alpha=0.1)),
        (L1Sp(), L1Sp(beta=0.1)),
        (Selective(k=1), Selective(k=2)),
        (Selective(k=1), Selective(which="first", k=1)),
        *((scheme(), scheme(lr=0.02)) for scheme in WHOLE + PARTS),
        *((scheme(), scheme(norm="affine")) for scheme in [*WHOLE, Selective]),
    ],
    ids=str,
)
def test_every_parameter_of_a_scheme_changes_its_result(lab, network, scheme, other):
    assert not same_bits(lab, network(scheme), network(other))


@pytest.mark.parametrize(
    "scheme",
    [
        Discriminative(factor=1.0),
        Discriminative(spread="geometric", ratio=1.0),
        LayerDecay(decay=1.0),
        LayerDecay(decay=0.1, min_scale=1.0),
        TwoRate(ratio=1.0),
        Selective(k=2),
        Selective(which="middle", k=2),
    ],
    ids=str,
)
def test_with_one_rate_for_all_it_is_full_to_the_bit(lab, scheme):
    on, full = lab.tuning(lab.IMAGES), lab.tuning(lab.IMAGES)
    for one in (on, full):
        one.model.recipe = replace(one.model.recipe, weight_decay=0.0)  # layer-decay has none on biases
    scheme.tune(on)
    Full().tune(full)
    assert same_bits(lab, on.model, full.model)


# ----------------------------------------------------------------------------------------------------- rate by stage


def test_discriminative_divides_by_the_factor_per_stage(lab):
    rates = rate_by_part(table(lab.tuning(lab.POINTS), Discriminative(lr=1.0)))
    expected = {"head": 1.0, "stages.2": 1 / 2.6, "stages.1": 1 / 2.6**2, "stages.0": 1 / 2.6**3}
    assert rates == pytest.approx(expected)


def test_discriminative_by_equal_factors_ends_at_the_ratio(lab):
    scheme = Discriminative(lr=1.0, spread="geometric", ratio=1000.0)
    rates = rate_by_part(table(lab.tuning(lab.POINTS), scheme))
    assert rates == pytest.approx({"head": 1.0, "stages.2": 0.1, "stages.1": 0.01, "stages.0": 0.001})


@pytest.mark.parametrize("spread", ["factor", "geometric"])
def test_a_head_alone_gets_the_whole_rate(spread):
    assert Discriminative(spread=spread).rates(0.3, 1) == [0.3]


def test_layer_decay_decays_by_stage_and_not_below_the_least(lab):
    rates = rate_by_part(table(lab.tuning(lab.POINTS), LayerDecay(lr=1.0, min_scale=0.5)))
    assert rates == pytest.approx({"head": 1.0, "stages.2": 0.75, "stages.1": 0.75**2, "stages.0": 0.5})


def test_layer_decay_has_weight_decay_on_matrices_and_kernels_only(lab):
    on = lab.tuning(lab.IMAGES)
    asked = table(on, LayerDecay())
    flat = {name for name, p in on.model.named_parameters() if p.ndim == 1}
    assert {name for name, (_, decay) in asked.items() if decay == 0.0} == flat
    assert {decay for name, (_, decay) in asked.items() if name not in flat} == {None}


def test_two_rate_has_two_rates(lab):
    rates = rate_by_part(table(lab.tuning(lab.IMAGES), TwoRate(lr=1.0, ratio=0.3)))
    assert rates == {"stages.0": 0.3, "stages.1": 0.3, "head": 1.0}


@pytest.mark.parametrize("scheme", [Discriminative(), LayerDecay(), TwoRate()], ids=str)
def test_the_head_gets_the_recipes_rate_by_default(lab, scheme):
    on = lab.tuning(lab.IMAGES)
    assert rate_by_part(table(on, scheme))["head"] == on.model.recipe.lr


# ------------------------------------------------------------------------------------------------- part of the network


@pytest.mark.parametrize(
    ("scheme", "stages"),
    [
        (Selective(which="first", k=1), {"0"}),
        (Selective(which="first", k=2), {"0", "1"}),
        (Selective(which="middle", k=1), {"1"}),
        (Selective(which="middle", k=2), {"0", "1"}),
        (Selective(which="last", k=1), {"2"}),
        (Selective(), {"1", "2"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),  # sets print in any order
)
def test_selective_trains_the_named_stages_and_the_head(lab, scheme, stages):
    on = lab.tuning(lab.POINTS)
    before = lab.state(on.model)
    scheme.tune(on)
    changed = lab.changed(before, on.model)
    assert {name.split(".")[1] for name in changed if name.startswith("stages")} == stages
    assert {name for name in changed if name.startswith("head")} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("which", ["first", "last"])
def test_selective_keeps_every_bit_of_the_rest_buffers_too(lab, which):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    Selective(which=which, k=1).tune(on)
    kept = {"first": "stages.1.", "last": "stages.0."}[which]
    assert {name for name in before if name.startswith(kept)} == set(before) - lab.changed(before, on.model)


def test_selective_refuses_more_stages_than_there_are(lab):
    with pytest.raises(NotApplicable, match="k = 3, but the network has 2 stages"):
        Selective(k=3).tune(lab.tuning(lab.IMAGES))


def test_bitfit_trains_biases_and_the_head_alone(lab):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    BitFit().tune(on)
    biases = {"stages.0.0.bias", "stages.0.1.bias", "stages.1.0.bias", "stages.1.1.bias"}
    assert lab.changed(before, on.model) == biases | {"head.weight", "head.bias"}


@pytest.mark.parametrize("scheme", [BitFit, NormTune])
@pytest.mark.parametrize(("optimizer", "factor"), [("sgd", 1), ("adam", 10), ("adamw", 10)])
def test_few_parameters_train_at_ten_times_the_recipes_rate_under_adam(lab, scheme, optimizer, factor):
    on = lab.tuning(lab.IMAGES)
    on.model.recipe = replace(on.model.recipe, optimizer=optimizer, lr=0.01)
    assert {rate for rate, _ in table(on, scheme()).values()} == {0.01 * factor}
    assert {rate for rate, _ in table(on, scheme(lr=0.7)).values()} == {0.7}


@pytest.mark.parametrize("scheme", [HeadSgd, FeatureTune])
def test_fresh_heads_train_at_the_recipes_rate_for_them(lab, scheme):
    on = lab.tuning(lab.IMAGES)
    assert {rate for rate, _ in table(on, scheme()).values()} == {1e-3}
    on.model.recipe = replace(on.model.recipe, lr_of_head=0.02)
    assert {rate for rate, _ in table(on, scheme()).values()} == {0.02}
    assert {rate for rate, _ in table(on, scheme(lr=0.7)).values()} == {0.7}


def test_what_is_new_beside_a_backbone_trains_faster_than_the_copy_of_its_stages(lab):
    on = lab.tuning(lab.IMAGES)
    on.model.recipe = replace(on.model.recipe, optimizer="adam", lr=0.01)
    SideTune().prepare(on.model)
    rates = {name: rate for name, (rate, _) in table(on, SideTune()).items()}
    new = {name for name in rates if name.startswith(("stages.0.project.", "head."))}
    assert {rates[name] for name in new} == {0.1}
    assert {rates[name] for name in rates.keys() - new} == {0.01}


def test_bitfit_finds_biases_by_any_name(lab):
    on = lab.tuning(lab.POINTS)
    on.model.stages[1] = nn.MultiheadAttention(8, 2)
    names = set(table(on, BitFit()))
    assert {"stages.1.in_proj_bias", "stages.1.out_proj.bias"} <= names
    assert not any(name.startswith("stages") and name.endswith("weight") for name in names)


def test_norm_tune_trains_scale_shift_and_the_head_and_keeps_the_statistics(lab):
    on = lab.tuning(lab.IMAGES)
    before = lab.state(on.model)
    NormTune().tune(on)
    affine = {f"stages.{stage}.1.{what}" for stage in (0, 1) for what in ("weight", "bias")}
    assert lab.changed(before, on.model) == affine | {"head.weight", "head.bias"}


@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.BatchNorm1d(8)], ids=str)
def test_norm_tune_knows_the_usual_norms(lab, layer):
    on = lab.tuning(lab.POINTS)
    on.model.stages[1] = layer
    assert set(table(on, NormTune())) == {"stages.1.weight", "stages.1.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.BatchNorm1d(8, affine=False)], ids=str)
def test_norm_tune_refuses_a_backbone_without_anything_to_tune(lab, layer):
    on = lab.tuning(lab.POINTS)
    on.model.stages[1] = layer
    with pytest.raises(NotApplicable, match="no norm layers"):
        NormTune().tune(on)


def test_bitfit_refuses_a_backbone_without_biases(lab):
    on = lab.tuning(lab.POINTS)
    on.model.stages = nn.ModuleList([nn.Linear(4, 6, bias=False)])
    with pytest.raises(NotApplicable, match="no biases"):
        BitFit().tune(on)
