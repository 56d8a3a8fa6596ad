"""Schemes one after the other, and regularisers on top."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from finefuse import Entry, NotApplicable, Ref, hookimpl
from finefuse.declare.facts import Facts
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import BudgetError, FinefuseError
from finefuse.types import Tuning
from finefuse_zoo.schemes.chain import Chain, steps_of
from finefuse_zoo.schemes.ema import Ema
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.gradual_unfreeze import GradualUnfreeze
from finefuse_zoo.schemes.head_sgd import HeadSgd


@dataclass(frozen=True)
class Shrink:
    """A penalty on the head."""

    strength: float = 10.0
    lr: float = 0.05

    def tune(self, on: Tuning) -> None:
        groups = [{"params": on.model.parameters(), "lr": self.lr}]
        on.trainer.fit(on.model, groups, penalty=lambda net, _: self.strength * net.head.weight.square().sum())


@dataclass(frozen=True)
class Clamp:
    """An action after every step."""

    def tune(self, on: Tuning) -> None:
        def clamp(optimizer):
            with torch.no_grad():
                on.model.head.bias.clamp_(-0.01, 0.01)

        on.trainer.fit(on.model, [{"params": on.model.parameters()}], after_step=clamp)


@dataclass(frozen=True)
class OwnLoss:
    def tune(self, on: Tuning) -> None:
        on.trainer.fit(on.model, [], loss=lambda outputs, batch: outputs.sum())


@dataclass(frozen=True)
class Builder:
    def prepare(self, model):
        raise AssertionError("this was not asked for")

    def tune(self, on: Tuning) -> None:
        raise AssertionError("this was not asked for")


@dataclass(frozen=True)
class StartOver(Shrink):
    """A penalty, and another head."""

    def tune(self, on: Tuning) -> None:
        torch.nn.init.zeros_(on.model.head.weight)
        super().tune(on)


@dataclass(frozen=True)
class Greedy:
    """Asks for as many steps as it says."""

    steps: float

    def tune(self, on: Tuning) -> None:
        on.trainer.fit(on.model, [{"params": on.model.parameters()}], steps=self.steps)


PARTS = {
    "ema": Ema(),
    "start-over": StartOver(),
    "full": Full(),
    "head": HeadSgd(lr=0.05),
    "gradual": GradualUnfreeze(),
    "shrink": Shrink(),
    "clamp": Clamp(),
    "own-loss": OwnLoss(),
    "builder": Builder(),
}


@pytest.fixture
def tune(lab):
    def run(chain, task=None):
        on = replace(lab.tuning(task or lab.IMAGES), scheme=PARTS.__getitem__)
        chain.tune(on)
        return on

    return run


def test_a_chain_of_one_is_that_scheme_to_the_bit(lab, tune):
    alone = lab.tuning(lab.IMAGES)
    Full().tune(alone)
    assert lab.changed(lab.state(alone.model), tune(Chain(of=("full",))).model) == set()


def test_phases_share_the_budget(lab, tune):
    equal = tune(Chain(of=("head", "full")))
    assert equal.trainer.spent == equal.trainer.budget == 15
    mostly_full = tune(Chain(of=("head", "full"), shares=(1.0, 4.0)))
    assert mostly_full.trainer.spent == 15
    assert lab.changed(lab.state(equal.model), mostly_full.model)


def test_a_chain_may_spend_less_than_the_budget(lab, tune):
    by_hand = lab.tuning(lab.IMAGES)
    half = by_hand.trainer.budget // 2
    by_hand.trainer.fit(by_hand.model, [{"params": by_hand.model.parameters(), "lr": 0.05}], steps=half)
    spent = tune(Chain(of=("full",), spend=0.5))
    assert spent.trainer.spent == half
    assert lab.changed(lab.state(by_hand.model), spent.model) == set()
    parts = tune(Chain(of=("head", "full"), shares=(1.0, 2.0), spend=0.6))
    assert parts.trainer.spent == 9


@pytest.mark.parametrize(
    ("budget", "spend", "shares", "steps"),
    [
        (1000, 1.0, (0.66, 0.34), [660, 340]),
        (1000, 1.0, (0.1, 0.2, 0.7), [100, 200, 700]),
        (100, 0.29, (1.0,), [29]),
        (100, 0.57, (1.0, 1.0), [29, 28]),
        (15, 1.0, (1.0, 1.0), [8, 7]),
        (10, 1.0, (1.0, 1.0, 1.0), [4, 3, 3]),
        (7, 1.0, (1e-3, 1e3), [0, 7]),
        (15, 0.5, (1.0,), [7]),
    ],
)
def test_shares_are_exact_and_no_step_is_lost(budget, spend, shares, steps):
    assert steps_of(budget, spend, shares) == steps


@pytest.mark.parametrize("budget", [7, 100, 333])
def test_every_budget_is_spent_whatever_the_shares(budget):
    for cents in range(1, 100):
        steps = steps_of(budget, 1.0, (cents / 100, 1 - cents / 100))
        assert sum(steps) == budget
        assert abs(steps[0] - budget * cents / 100) < 1
        assert steps_of(100, cents / 100, (1.0,)) == [cents]


def test_the_second_scheme_starts_where_the_first_ended(lab, tune):
    chained, by_hand = tune(Chain(of=("head", "full"))), lab.tuning(lab.IMAGES)
    half = 8
    by_hand.trainer.fit(
        by_hand.model,
        [{"params": by_hand.model.head.parameters(), "lr": 0.05}],
        steps=half,
        optimizer="adam",
        norm="eval",
    )
    by_hand.trainer.fit(by_hand.model, [{"params": by_hand.model.parameters(), "lr": 0.05}])
    assert lab.changed(lab.state(by_hand.model), chained.model) == set()


def test_a_penalty_goes_on_top_of_every_phase(tune):
    plain, shrunk = tune(Chain(of=("gradual",))), tune(Chain(of=("gradual",), plus=("shrink",)))
    assert shrunk.model.head.weight.norm() < 0.5 * plain.model.head.weight.norm()
    assert shrunk.trainer.spent == plain.trainer.spent


def test_a_penalty_on_top_of_full_is_the_regulariser_itself(lab, tune):
    alone = lab.tuning(lab.IMAGES)
    Shrink().tune(alone)
    assert lab.changed(lab.state(alone.model), tune(Chain(of=("full",), plus=("shrink",))).model) == set()


def test_actions_and_several_extras_add_up(tune):
    both = tune(Chain(of=("full",), plus=("clamp", "shrink"))).model.head
    only = tune(Chain(of=("full",), plus=("clamp",))).model.head
    assert both.bias.abs().max() <= 0.01
    assert only.bias.abs().max() <= 0.01
    assert both.weight.norm() < 0.5 * only.weight.norm()


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        (Chain(of=("full",), shares=(0.5, 0.5)), "2 shares were given for 1 schemes"),
        (Chain(of=("full",), plus=("own-loss",)), "own-loss is more, or less, than a penalty"),
        (Chain(of=("full",), plus=("gradual",)), "gradual is more, or less, than a penalty"),
        (Chain(of=("full",), plus=("full",)), "full is more, or less, than a penalty"),
        (Chain(of=("builder",)), "builder adds modules to the network"),
        (Chain(of=("full",), plus=("ema",)), "ema does something to the network before or after it is trained"),
        (Chain(of=("full",), plus=("start-over",)), "start-over does something to the network before or after"),
        (Chain(of=("head", "full"), spend=0.1), "full gets none of the 1 steps that 2 schemes share"),
        (Chain(of=("full",), spend=0.01), "full gets none of the 0 steps"),
    ],
)
def test_what_can_not_be_chained_is_not_applicable(tune, chain, why):
    with pytest.raises(NotApplicable, match=why):
        tune(chain)


def test_ema_is_refused_without_batch_norm_too(lab, tune):
    with pytest.raises(NotApplicable, match="ema does something"):
        tune(Chain(of=("full",), plus=("ema",)), lab.POINTS)


@pytest.mark.parametrize("steps", [-5, 2.5])
def test_steps_are_whole_numbers_from_0(lab, steps):
    on = replace(lab.tuning(lab.IMAGES), scheme=lambda _: Greedy(steps))
    for scheme in (Greedy(steps), Chain(of=("greedy",))):
        with pytest.raises(ValueError, match=rf"^steps must be a whole number from 0, not {steps}$"):
            scheme.tune(on)
    assert on.trainer.spent == 0


def test_a_phase_has_no_more_than_its_share(lab):
    on = replace(lab.tuning(lab.IMAGES), scheme=lambda _: Greedy(9))
    with pytest.raises(BudgetError, match="asked for 9 steps, but 8 of 8 are left"):
        Chain(of=("greedy", "greedy")).tune(on)


class Plugin:
    @hookimpl
    def finefuse_schemes(self):
        yield Entry("shrink", Shrink)


SUITE = {"name": "t", "datasets": ["points"], "backbones": ["tiny"]}


@pytest.fixture
def registry(fixture_module):
    return Registry(("finefuse_zoo.hooks", fixture_module("plugins/tiny"), Plugin()), entry_points=False)


@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        ({"use": "chain", "of": ["fulll"]}, "no scheme 'fulll'; did you mean 'full'"),
        ({"use": "chain", "of": [{"use": "full", "lrr": 1}]}, "no parameter 'lrr'; did you mean 'lr'"),
        ({"use": "chain", "of": []}, "at least 1 item"),
        ({"use": "chain", "of": ["full"], "spend": 1.5}, "spend must be less than or equal to 1, not 1.5"),
        ({"use": "chain", "of": ["full"], "plus": ["shrinck"]}, "did you mean 'shrink'"),
        ({"use": "chain", "of": [{"lr": 0.1}]}, "has no `use`"),
    ],
)
def test_what_a_chain_is_made_of_is_checked_with_the_suite(registry, scheme, why):
    with pytest.raises(FinefuseError, match=why):
        load_suite({**SUITE, "schemes": [scheme]}, registry)


def test_what_a_chain_is_made_of_is_in_its_key(registry):
    scheme = {"use": "chain", "of": ["full"], "plus": [{"use": "shrink", "strength": 1.0}]}
    parts = Facts(registry).parts("scheme", Ref.read(scheme))
    assert "source finefuse_zoo/schemes/full.py" in parts
    assert parts["scheme shrink: strength"] == "1.0"

    def key(scheme):
        return make_plan(load_suite({**SUITE, "schemes": [scheme]}, registry), registry).jobs[1].key

    assert key(scheme) == key(dict(scheme))
    assert key(scheme) != key({**scheme, "plus": [{"use": "shrink", "strength": 2.0}]})
