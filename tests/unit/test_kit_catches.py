"""The conformance kit names what a benchmark must not let pass: for each thing there is a strategy that does it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from finefuse.testing import POINTS, SCHEME_CHECKS
from finefuse.testing.fusion_rules import fusion_checks
from finefuse.testing.report import Checked, tell, tried
from finefuse.testing.scheme_rules import scheme_checks

OTHERS = "nothing-else-is-changed"
SCHEMES = {
    "train_x": (OTHERS, r"it changed `train\.x` in place"),
    "val_y": (OTHERS, r"it changed `val\.y` in place"),
    "source_x": (OTHERS, r"it changed `source\.x` in place"),
    "file": (OTHERS, r"it left 1 file behind, .*notes\.txt"),
    "file_elsewhere": (OTHERS, r"it left 2 files behind, .*finefuse-wrong-"),
    "file_of_torch": (OTHERS, r"it left 1 file behind, .*weights\.pt"),
    "thread": (OTHERS, "it left 1 thread behind, lingering"),
    "process": (OTHERS, "it left 1 process behind, python"),
    "threads": (OTHERS, "it changed torch's number of threads"),
    "grad": (OTHERS, "it changed torch's grad mode"),
    "dtype": (OTHERS, "it changed torch's default dtype"),
    "deterministic": (OTHERS, "it changed torch's deterministic algorithms"),
    "folder": (OTHERS, "it changed the working folder"),
    "environment": (OTHERS, "it changed the variable OMP_NUM_THREADS"),
    "function": (OTHERS, r"it changed torch\.nn\.functional\.cross_entropy"),
    "recipe": (OTHERS, "it changed the recipe of a network"),
    "seed_0": ("global-rng-is-untouched", "the global generator of torch was used"),
    "text": ("figures-are-numbers", "the figure 'note' is 'very good'; a finite number or NaN was expected"),
    "nan": ("output-shape", "outputs are not finite"),
    "exit": ("output-shape", "raised SystemExit: 0"),
    "asks_the_batch": ("one-example-at-a-time", "outputs for an example depend on the other examples of its batch"),
    "own_loop": ("budget-is-kept", "took 1 optimizer steps of its own beside 15 of the trainer's"),
    "by_hand": ("budget-is-kept", "evaluated 1 gradients of its own beside 15 of the trainer's"),
    "trainer_of_its_own": ("budget-is-kept", "of its own beside 15 of the trainer's"),
    "functional": ("budget-is-kept", "evaluated 1 gradients of its own beside 15 of the trainer's"),
    "in_a_thread": ("budget-is-kept", "took 1 optimizer steps of its own beside 15 of the trainer's"),
}
FUSIONS = {
    "val_x": (OTHERS, r"it changed `val\.x` in place"),
    "val_outputs": (OTHERS, "it changed val_outputs of m0 in place"),
    "base": (OTHERS, r"it changed `base`'s head\.weight in place"),
    "test_inputs": (OTHERS, "it changed `test_inputs` in place"),
    "train_y": (OTHERS, r"it changed `train\.y` in place"),
    "recipe": (OTHERS, "it changed the recipe of a member"),
    "level": ("level-is-as-declared", "it says level 'output', and gave a Net"),
    "centres": ("one-example-at-a-time", "outputs for an example depend on the other examples of its batch"),
    "nan": ("output-shape", "outputs are not finite"),
    "nothing": ("output-shape", "it gave a dict, and not a module"),
}


@pytest.fixture(scope="module")
def wrong(fixture_module: Callable[[str], Any]) -> Any:
    return fixture_module("wrong_strategies")


def why(rule: str, found: Checked) -> str:
    assert (found.rule, found.outcome) == (rule, "broken"), found
    return found.why


@pytest.mark.parametrize("what", SCHEMES)
def test_a_scheme_is_caught(wrong: Any, what: str) -> None:
    rule, sentence = SCHEMES[what]
    found = tried(rule, scheme_checks((POINTS,))[rule], wrong.Wrong(what))
    assert re.search(sentence, why(rule, found))


@pytest.mark.parametrize("what", FUSIONS)
def test_a_fusion_is_caught(wrong: Any, what: str) -> None:
    rule, sentence = FUSIONS[what]
    found = tried(rule, fusion_checks((POINTS,))[rule], wrong.WrongFusion(what))
    assert re.search(sentence, why(rule, found))


def test_a_level_that_is_not_the_declared_one_is_caught(wrong: Any) -> None:
    rule = "level-is-as-declared"
    assert "gave a CombineOutputs and not a Net" in why(rule, tried(rule, fusion_checks((POINTS,))[rule], wrong.Says()))


def test_a_parameter_that_nothing_reads_is_caught(wrong: Any) -> None:
    rule = "every-parameter-counts"
    found = tried(rule, scheme_checks((POINTS,))[rule], wrong.Idle())
    assert "rate can have any value, and changes nothing" in why(rule, found)


def test_another_signature_is_caught(wrong: Any) -> None:
    report = tell(wrong.OtherSignature, scheme_checks((POINTS,)))
    assert len(report.having("broken")) == len(SCHEME_CHECKS) - 1  # it has no parameters
    assert "missing 1 required positional argument: 'data'" in report.complaint


def test_what_was_changed_is_put_back() -> None:
    """After all of the above, which ran in this process in any order."""
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.nn.functional.cross_entropy.__module__ == "torch.nn.functional"
