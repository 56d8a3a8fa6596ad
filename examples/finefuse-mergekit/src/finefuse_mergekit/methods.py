"""A frozen dataclass for every method of mergekit, made when it is asked for from what mergekit says of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Law, Level, Need

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULTS = {"weight": 1.0, "t": 0.5, "scale": 1.0}
"""Of parameters that mergekit has no default for."""
ORDERLESS = ("linear", "karcher")
"""Methods for which one member and the order of members are what one expects.

Equal members are not: mergekit rounds to float32 on the way, so that the network differs from them in the last bits and
its statistics are renewed.
"""


@dataclass(frozen=True)
class Merge:
    """What all methods share. `recalibrate` renews BatchNorm's statistics from the training inputs."""

    recalibrate: bool = True
    method: ClassVar[str] = ""
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "train")
    except_for: ClassVar[tuple[Law, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        """One network, merged a tensor at a time.

        Raises:
            NotApplicable: if the method does not take this many members.
        """
        from mergekit.merge_methods.base import BasePolicy, TensorGroup

        method = _method(self.method)
        contract = method.spec.contract
        required = contract.base == BasePolicy.REQUIRED
        base = nets.base_state(of) if required and contract.max_inputs is None else None
        count = len(of.members) + (base is not None)
        first = 0 if required else None
        given = self._parameters(range(count), first)

        def rule(name: str, tensors: list[Tensor]) -> Tensor:
            inputs = tensors if base is None else [base[name], *tensors]
            group = TensorGroup.from_tensors(inputs, base_index=first, name=name)
            return method([group], parameters=given)[0]  # type: ignore[no-any-return]

        try:
            contract.validate_ids(list(range(count)), first)
        except ValueError as error:
            raise NotApplicable(f"mergekit: {error}") from error
        with torch.random.fork_rng(devices=[]):  # some draw from the global generator
            torch.manual_seed(of.rng.initial_seed())
            return nets.merged(of.members, rule, of.train.x if self.recalibrate else None)

    def _parameters(self, inputs: range, base: int | None) -> dict[str, Any]:
        """What was given, repeated for every input where mergekit takes a value for each."""
        from mergekit.merge_methods.base import ParameterScope, PerInputValues

        given: dict[str, Any] = {}
        for spec in _method(self.method).spec.parameters:
            value = getattr(self, _spelt(spec.name))
            if spec.scope != ParameterScope.SHARED:
                skip = base if spec.scope == ParameterScope.NON_BASE else None
                value = PerInputValues([(i, value) for i in inputs if i != skip])
            given[spec.name] = value
        return given


@cache
def __getattr__(name: str) -> type[Merge]:
    """The class of a method, by mergekit's name for it."""
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        spec = _method(name).spec
    except Exception as error:
        raise AttributeError(f"mergekit has no method {name!r}") from error
    default = {p.name: DEFAULTS.get(p.name) if p.required else p.default for p in spec.parameters}
    columns = [(_spelt(p.name), type(default[p.name]), field(default=default[p.name])) for p in spec.parameters]
    laws = ("equal members",) if name in ORDERLESS else ("one member", "equal members", "order")
    space = {"method": name, "except_for": laws, "__doc__": f"{spec.pretty_name}, as mergekit computes it."}
    made = make_dataclass(name, columns, bases=(Merge,), namespace=space, frozen=True)
    made.__module__ = __name__
    assert fields(made)
    return made


def _method(name: str) -> Any:
    from mergekit.merge_methods import registry

    return registry.get(name)


def _spelt(name: str) -> str:
    """A parameter's name as Python allows it."""
    return "lambda_" if name == "lambda" else name
