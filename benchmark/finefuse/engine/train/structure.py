"""What a module computes: its classes, their settings and every tensor in it, as text and tensors to be digested.

It is for modules whose outputs are to be shared, so it refuses what it can't see through, and is never asked to guess.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from finefuse.declare.keys import source_digests
from finefuse.engine.store.splits import content_of

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.memory_format)
LISTS = (list, tuple, torch.Size)
OWN = vars(nn.Module()).keys() - {"training"}
"""What torch itself keeps in every module."""


Code = Mapping[str, str | None]
"""Top-level packages by what stands for their code: their version, or None for the source files of each class."""


class UnclearError(Exception):
    """What a module computes may depend on something that can't be put into an address."""


@dataclass(frozen=True)
class Structure:
    """A module without the contents of its tensors, and these in order."""

    text: str
    tensors: tuple[Tensor, ...]

    def same(self, other: Structure) -> bool:
        """Whether both compute the same to the last bit."""
        pairs = zip(self.tensors, other.tensors, strict=False)
        return self.text == other.text and all(one is two or torch.equal(one, two) for one, two in pairs)

    @property
    def contents(self) -> list[str]:
        """The digest of each tensor."""
        return [content_of(tensor) for tensor in self.tensors]


def structure_of(module: nn.Module, code: Code) -> Structure:
    """The structure of a module whose code is all in packages that are known.

    Raises:
        UnclearError: if it has hooks, a method or class of its own, an attribute that is no plain value, or other code.
    """
    tensors: list[Tensor] = []
    told = [[name, *_module(part, code, tensors)] for name, part in module.named_modules(remove_duplicate=False)]
    return Structure(repr(told), tuple(tensors))


def _module(part: nn.Module, code: Code, tensors: list[Tensor]) -> Iterator[Any]:
    own = vars(part)
    if any(own[name] for name in OWN if "forward" in name or "backward" in name if isinstance(own[name], dict)):
        raise UnclearError("it has hooks")
    yield _named(type(part), code)
    for name, tensor in (*own["_parameters"].items(), *own["_buffers"].items()):
        yield [name, _value(tensor, code, tensors)]
    for name in sorted(own.keys() - OWN):
        yield [name, _value(own[name], code, tensors)]


def _value(value: Any, code: Code, tensors: list[Tensor]) -> Any:
    """The value as something whose `repr` says all."""
    if type(value) in PLAIN:
        return [type(value).__name__, repr(value)]
    if isinstance(value, Tensor):
        return _tensor(value, tensors)
    if type(value) in LISTS:
        return [type(value).__name__, *(_value(one, code, tensors) for one in value)]
    if type(value) is dict:
        return ["dict", *(_value(item, code, tensors) for item in value.items())]
    if isinstance(value, Enum):
        return [_named(type(value), code), value.name]
    if type(value) is partial:
        return ["partial", *(_value(one, code, tensors) for one in (value.func, value.args, value.keywords))]
    if is_dataclass(value) and not isinstance(value, type):
        inner = [[field.name, _value(getattr(value, field.name), code, tensors)] for field in fields(value)]
        return [_named(type(value), code), *inner]
    return _named(value, code)


def _tensor(tensor: Tensor, tensors: list[Tensor]) -> Any:
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise UnclearError("it has a tensor of another kind")
    tensors.append(tensor)
    return ["tensor", str(tensor.dtype), tuple(tensor.shape), tensor.stride()]


def _named(value: Any, code: Code) -> Any:
    """A class or function by the name that it is found by, with what stands for its code."""
    try:
        module, name = value.__module__, value.__qualname__
        found: Any = sys.modules[module]
        for step in name.split("."):
            found = vars(found)[step]
    except (AttributeError, KeyError, TypeError):
        raise UnclearError(f"it holds a {type(value).__name__} that has no name of its own") from None
    top = module.partition(".")[0]
    if found is not value or top not in code:
        raise UnclearError(f"it holds {module}.{name}")
    version = code[top]
    return [module, name, sorted(source_digests(value).items()) if version is None else version]
