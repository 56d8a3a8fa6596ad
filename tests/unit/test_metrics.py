"""accuracy, nll and ece against closed forms, scikit-learn and a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from finefuse_zoo.metrics.accuracy import Accuracy
from finefuse_zoo.metrics.ece import Ece
from finefuse_zoo.metrics.nll import Nll

ALL = [Accuracy(), Nll(), Ece()]


@pytest.fixture(params=[2, 5], ids=["2 classes", "5 classes"])
def case(request):
    rng = torch.Generator().manual_seed(request.param)
    return torch.randn(300, request.param, generator=rng) * 2, torch.randint(request.param, (300,), generator=rng)


def ece_by_loop(outputs, y, bins: int) -> float:
    confidence, answer = outputs.double().softmax(-1).max(-1)
    total = 0.0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        if inside.any():
            right = (answer == y)[inside].double().mean()
            total += float(inside.double().mean() * (right - confidence[inside].mean()).abs())
    return total


def test_accuracy_is_scikit_learns(case):
    outputs, y = case
    assert Accuracy().score(outputs, y) == pytest.approx(accuracy_score(y, outputs.argmax(-1)), abs=1e-7)


def test_accuracy_counts():
    outputs = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]])
    assert Accuracy().score(outputs, torch.tensor([0, 2, 1, 1])) == 0.75


def test_accuracy_gives_a_tie_to_the_lowest_class():
    assert Accuracy().score(torch.zeros(4, 3), torch.tensor([0, 0, 1, 2])) == 0.5


def test_accuracy_weighs_examples_not_classes():
    assert Accuracy().score(torch.tensor([[1.0, 0.0]]).expand(10, 2), torch.tensor([0] * 9 + [1])) == pytest.approx(0.9)


def test_nll_is_scikit_learns(case):
    outputs, y = case
    expected = log_loss(y, outputs.double().softmax(-1), labels=list(range(outputs.shape[1])))
    assert Nll().score(outputs, y) == pytest.approx(expected, rel=1e-9)


def test_nll_of_no_opinion_is_the_log_of_the_number_of_classes():
    assert Nll().score(torch.zeros(7, 4), torch.arange(7) % 4) == pytest.approx(math.log(4))


def test_nll_is_finite_for_sure_and_wrong():
    assert Nll().score(torch.tensor([[1000.0, 0.0]]), torch.tensor([1])) == pytest.approx(1000)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_is_that_of_a_plain_loop(case, bins):
    outputs, y = case
    assert Ece(bins).score(outputs, y) == pytest.approx(ece_by_loop(outputs, y, bins), abs=1e-5)


def test_ece_has_fifteen_bins():
    assert Ece() == Ece(bins=15)


def test_ece_of_a_calibrated_guess_is_0_and_of_a_boast_its_gap():
    sure = torch.tensor([0.8, 0.2]).log().expand(10, 2)
    assert Ece().score(sure, torch.tensor([0] * 8 + [1] * 2)) == pytest.approx(0, abs=1e-6)
    assert Ece().score(sure, torch.tensor([0] * 5 + [1] * 5)) == pytest.approx(0.3, abs=1e-6)


def test_ece_takes_logits_that_lie_between_0_and_1():
    outputs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    y = torch.tensor([0, 0])
    assert Ece().score(outputs, y) == pytest.approx(ece_by_loop(outputs, y, 15), abs=1e-6)


@pytest.mark.parametrize("metric", ALL)
def test_metrics_are_plain_numbers_for_one_example_and_leave_the_outputs_alone(metric):
    outputs, y = torch.tensor([[0.5, -0.5, 2.0]]), torch.tensor([2])
    kept = outputs.clone()
    assert type(metric.score(outputs, y)) is float
    assert math.isfinite(metric.score(outputs, y))
    assert torch.equal(outputs, kept)


@pytest.mark.parametrize("metric", ALL)
def test_better_outputs_score_better(metric, case):
    outputs, y = case
    better = outputs + 20 * torch.nn.functional.one_hot(y, outputs.shape[1])
    gain = metric.score(better, y) - metric.score(outputs, y)
    assert (gain > 0) is metric.higher_is_better
    assert gain != 0


def test_metrics_say_what_they_are_for():
    assert {metric.kinds for metric in ALL} == {("classification",)}
    assert [metric.higher_is_better for metric in ALL] == [True, False, False]
