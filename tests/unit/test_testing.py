"""The conformance kit: faithful strategies pass, and each rule is broken by a strategy made for it."""

from __future__ import annotations

import random

import pytest
import torch

from finefuse.testing import FUSION_CHECKS, SCHEME_CHECKS, check_fusion, check_scheme
from finefuse_zoo.fusions.mean_probs import MeanProbs
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.head_sgd import HeadSgd
from helpers.pytesting import self_registered

BROKEN_SCHEMES = {
    "same-seed-same-bits": ("Forgetful", "two runs with one seed differ in head.weight"),
    "frozen-keeps-its-bits": ("Drifting", "running_mean.* changed, but the trainer was not given that stage"),
    "budget-is-kept": ("Greedy", "BudgetError: asked for 30 steps, but 15 of 15 are left"),
    "global-rng-is-untouched": ("NumpyUser", "the global generator of numpy was used"),
    "test-labels-change-nothing": ("Cheat", "other test labels gave other weights"),
    "output-shape": ("WrongHead", r"outputs of shape \(90, 4\), not \(90, 3\)"),
}
BROKEN_FUSIONS = {
    "same-seed-same-bits": ("ForgetfulFusion", "two runs with one seed differ"),
    "members-keep-their-bits": ("TamperingFusion", "members m0 were changed"),
    "budget-is-kept": ("GreedyFusion", "BudgetError"),
    "global-rng-is-untouched": ("NumpyFusion", "the global generator of numpy was used"),
    "test-labels-change-nothing": ("CheatingFusion", "other test labels gave other outputs"),
    "output-shape": ("WrongShapeFusion", r"outputs of shape \(90,\)"),
    "one-member-is-itself": ("ContraryFusion", "one member gives other answers than itself"),
    "equal-members-are-each": ("CountingFusion", "three equal members give other answers than each"),
    "order-does-not-matter": ("FirstComeFusion", "the order of the members matters"),
    "a-stage-gives-a-network": ("TamperingStage", "as a stage it changed members m0"),
    "buffers-survive": ("MiscountingFusion", "num_batches_tracked is none of the members'"),
}


@pytest.fixture(scope="module")
def unfaithful(fixture_module):
    return fixture_module("unfaithful")


def test_a_faithful_instance_passes():
    check_scheme(HeadSgd(optimizer="sgd"))


def test_a_faithful_class_passes():
    check_fusion(MeanProbs)


ELSEWHERE = {"nothing-else-is-changed", "figures-are-numbers", "one-example-at-a-time", "level-is-as-declared"}
ELSEWHERE.add("every-parameter-counts")
"""Rules that tests/unit/test_kit_catches.py has strategies for."""


def test_every_rule_has_a_strategy_that_breaks_it():
    assert set(BROKEN_SCHEMES) == set(SCHEME_CHECKS) - ELSEWHERE
    assert set(BROKEN_FUSIONS) == set(FUSION_CHECKS) - ELSEWHERE


@pytest.mark.parametrize("rule", list(BROKEN_SCHEMES))
def test_a_scheme_that_breaks_the_rule_is_told_so(unfaithful, rule):
    name, why = BROKEN_SCHEMES[rule]
    with pytest.raises(AssertionError, match=rf"{name} breaks \d+ of \d+ rules:\n(.*\n)*  {rule}: .*{why}"):
        check_scheme(getattr(unfaithful, name))


@pytest.mark.parametrize("rule", list(BROKEN_FUSIONS))
def test_a_fusion_that_breaks_the_rule_is_told_so(unfaithful, rule):
    name, why = BROKEN_FUSIONS[rule]
    with pytest.raises(AssertionError, match=rf"{name} breaks \d+ of \d+ rules:\n(.*\n)*  {rule}: .*{why}"):
        check_fusion(getattr(unfaithful, name))


def test_other_ways_to_break_the_rules(unfaithful):
    with pytest.raises(AssertionError, match="the pretrained original was changed"):
        check_scheme(unfaithful.Tampering)
    with pytest.raises(AssertionError, match="outputs are not finite"):
        check_scheme(unfaithful.Exploding)
    with pytest.raises(AssertionError, match="not applicable to any of 3 small tasks: no task is good enough"):
        check_scheme(unfaithful.Never)
    with pytest.raises(AssertionError, match=r"reads `member\.val_outputs` and its `needs` don't name 'val'"):
        check_fusion(unfaithful.UndeclaredFusion)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Refilling", "raised AttributeError: .*budget"),
        ("Uncounted", "raised AttributeError: .*_spent"),
        ("OwnLoop", "BudgetError: took 3 optimizer steps of its own beside 15 of the trainer's"),
    ],
)
def test_the_budget_is_out_of_reach_in_the_kit_as_it_is_in_a_run(unfaithful, name, why):
    with pytest.raises(AssertionError, match=rf"  budget-is-kept: .*{why}"):
        check_scheme(getattr(unfaithful, name))


def test_the_budget_is_out_of_reach_of_fusions_in_the_kit_too(unfaithful):
    with pytest.raises(AssertionError, match=r"  budget-is-kept: raised AttributeError: .*_budget"):
        check_fusion(unfaithful.RefillingFusion)


def test_rules_can_be_skipped_by_name(unfaithful):
    check_scheme(unfaithful.NumpyUser, skip=["global-rng-is-untouched"])
    with pytest.raises(AssertionError, match="there is no rule budget; did you mean 'budget-is-kept'"):
        check_scheme(Full, skip=["budget"])


def test_the_kit_leaves_the_global_generators_alone():
    torch.manual_seed(3)
    random.seed(3)
    before = torch.get_rng_state(), random.getstate()
    check_scheme(Full)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


pytest_plugins = ["pytester"]


def test_the_pytest_plugin_makes_one_test_per_rule(pytester):
    pytester.makepyfile(
        """
        from finefuse_zoo.schemes.full import Full
        from finefuse_zoo.fusions.vote import Vote

        def test_scheme(scheme_check):
            scheme_check(Full)

        def test_fusion(fusion_check):
            fusion_check(Vote())
        """
    )
    result = pytester.runpytest_subprocess("-v", *self_registered())
    result.assert_outcomes(passed=22, skipped=3)
    result.stdout.fnmatch_lines(["*test_scheme?frozen-keeps-its-bits? PASSED*"])
