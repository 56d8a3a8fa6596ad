"""macro-f1 against scikit-learn and counts by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import f1_score
from torchmetrics.functional.classification import multiclass_f1_score

from finefuse import Ref
from finefuse.discovery.registry import Registry
from finefuse_zoo.metrics.macro_f1 import MacroF1


def logits(answers: list[int], classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(answers), classes).float()


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_scikit_learns(classes, seed):
    rng = torch.Generator().manual_seed(seed)
    outputs, y = torch.randn(200, classes, generator=rng), torch.randint(classes, (200,), generator=rng)
    expected = f1_score(y, outputs.argmax(-1), average="macro")
    assert MacroF1().score(outputs, y) == pytest.approx(expected, abs=1e-6)


def test_it_counts():
    # class 0: TP 1, FP 1, FN 0: 2/3; class 1: TP 1, FP 0, FN 1: 2/3; class 2: TP 1: 1
    assert MacroF1().score(logits([0, 0, 1, 2], 3), torch.tensor([0, 1, 1, 2])) == pytest.approx(7 / 9)


@pytest.mark.parametrize(
    ("answers", "y"),
    [([0, 1, 1], [0, 1, 0]), ([0, 3, 3], [0, 1, 1]), ([2, 2], [2, 2]), ([0, 0], [1, 1])],
    ids=["class absent", "class only answered", "one class, all right", "one class, all wrong"],
)
def test_classes_that_are_absent_count_as_scikit_learn_counts_them(answers, y):
    expected = f1_score(y, answers, average="macro", zero_division=0)
    assert MacroF1().score(logits(answers, 5), torch.tensor(y)) == pytest.approx(expected)


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    y = torch.tensor([0] * 99 + [1])
    assert MacroF1().score(logits([0] * 100, 2), y) < 0.5


def test_it_is_called_macro_f1_and_is_for_classification():
    metric = Registry(("finefuse_zoo.hooks",), entry_points=False).build("metric", Ref("macro-f1"))
    assert metric == MacroF1()
    assert (metric.kinds, metric.higher_is_better) == (("classification",), True)


def test_it_takes_little_memory_for_many_classes_in_deterministic_mode_too(monkeypatch):
    # a table of examples by pairs of classes would have 160 GB
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    y = torch.arange(5000) % 2000
    assert MacroF1().score(logits(y.tolist(), 2000), y) == 1.0


@pytest.mark.parametrize("classes", [2, 5, 16, 257])
def test_it_has_the_bits_of_torchmetrics(classes):
    rng = torch.Generator().manual_seed(classes)
    for n in (1, 7, 300):
        outputs, y = torch.randn(n, classes, generator=rng), torch.randint(classes, (n,), generator=rng)
        assert MacroF1().score(outputs, y) == float(multiclass_f1_score(outputs, y, classes, average="macro"))
