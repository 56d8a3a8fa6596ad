"""What a module computes, as text and tensors: whatever may change a bit is in it, or it is refused."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch
from torch import nn

from finefuse.engine.train.structure import UnclearError, structure_of

HERE = {"torch": "", __name__.partition(".")[0]: "1"}


class Scaled(nn.Module):
    """A layer with settings of many kinds."""

    def __init__(self, **settings):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("scale", torch.full((2,), 3.0), persistent=False)
        vars(self).update(settings)

    def forward(self, x):
        return x * self.weight * self.scale


@dataclass(frozen=True)
class Options:
    p: float = 0.5


def text(part, packages=HERE):
    found = structure_of(part, packages)
    return found.text, found.contents


def test_equal_modules_have_equal_structures():
    settings = {"a": 1, "b": [2.5, ("x", None)], "c": {"k": torch.float32}, "d": Options(), "e": torch.ones(1)}
    settings |= {"f": functools.partial(nn.functional.relu, inplace=False), "g": nn.ReLU}
    assert text(Scaled(**settings)) == text(Scaled(**settings))


def _data(layer):
    layer.weight.data[0] = 2


CHANGES = {
    "a parameter": _data,
    "a buffer": lambda layer: layer.scale.add_(1),
    "mode": lambda layer: layer.eval(),
    "a number": lambda layer: setattr(layer, "p", 0.1),
    "its kind": lambda layer: setattr(layer, "p", True),
    "a text": lambda layer: setattr(layer, "p", "0.5"),
    "an option": lambda layer: setattr(layer, "p", Options(0.1)),
    "a list": lambda layer: setattr(layer, "p", [0.5]),
    "a hidden tensor": lambda layer: setattr(layer, "p", torch.ones(2)),
    "a function": lambda layer: setattr(layer, "p", nn.functional.relu),
    "memory": lambda layer: setattr(layer, "weight", nn.Parameter(torch.ones(4)[::2])),
    "precision": lambda layer: layer.double(),
    "another layer": lambda layer: layer.add_module("more", nn.ReLU()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_may_change_a_bit_changes_the_structure(change):
    layer = Scaled(p=1)
    before = text(layer)
    change(layer)
    assert text(layer) != before
    assert not structure_of(layer, HERE).same(structure_of(Scaled(p=1), HERE))


class Local:
    """Something whose inside can't be known."""


UNCLEAR = {
    "a hook": lambda layer: layer.register_forward_hook(lambda *_: None),
    "a hook before": lambda layer: layer.register_forward_pre_hook(lambda *_: None),
    "a forward of its own": lambda layer: setattr(layer, "forward", lambda x: x),
    "an object": lambda layer: setattr(layer, "p", Local()),
    "a set": lambda layer: setattr(layer, "p", {1}),
    "a closure": lambda layer: setattr(layer, "p", functools.partial(lambda x: x)),
    "other code": lambda layer: setattr(layer, "p", MappingProxyType),
    "parametrised": lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity()),
    "sparse": lambda layer: setattr(layer, "p", torch.eye(2).to_sparse()),
    "a module that is not registered": lambda layer: setattr(layer, "p", [nn.ReLU()]),
    "compiled": lambda layer: setattr(layer, "_compiled_call_impl", lambda x: x),
}


@pytest.mark.parametrize("change", UNCLEAR.values(), ids=UNCLEAR)
def test_what_cannot_be_seen_through_is_refused(change):
    layer = Scaled()
    change(layer)
    with pytest.raises(UnclearError):
        structure_of(layer, HERE)


def test_code_of_other_packages_is_refused():
    with pytest.raises(UnclearError, match="Scaled"):
        structure_of(nn.Sequential(Scaled()), {"torch": ""})


def test_a_class_that_cannot_be_found_by_its_name_is_refused():
    class Inner(nn.Module):
        pass

    with pytest.raises(UnclearError):
        structure_of(Inner(), HERE)
