"""Schemes one after the other, and regularisers on top of any of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt, Le, Len

from finefuse import NotApplicable
from finefuse.errors import BudgetError
from finefuse.types import Prepares, Spec, Trainer, Tuning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class Chain:
    """Run the schemes in `of` one after the other, each with its share of the budget.

    `shares` None gives all the same share. `spend` is the part of the budget that all of them together have, to the
    step; what doesn't divide goes to the largest remainders, and each scheme needs one step at least. Penalties and
    actions after every step of the schemes in `plus` are added to every phase, so L2-SP can be combined with gradual
    unfreezing without a separate class; their rates and weight decay are not taken over. A scheme in `plus` has to
    train in one phase by the usual loss and steps, and to do nothing to the network before and after it, as `ema` does.
    Checked: a chain of one scheme has that scheme's bits, a penalty on top of `full` those of the regulariser.
    """

    of: Annotated[tuple[Spec, ...], Len(1)]
    plus: tuple[Spec, ...] = ()
    shares: tuple[Annotated[float, Gt(0)], ...] | None = None
    spend: Annotated[float, Gt(0), Le(1)] = 1.0
    nested: ClassVar[tuple[str, ...]] = ("of", "plus")

    def tune(self, on: Tuning) -> None:
        """One scheme after the other."""
        shares = self.shares or (1.0,) * len(self.of)
        if len(shares) != len(self.of):
            raise NotApplicable(f"{len(shares)} shares were given for {len(self.of)} schemes")
        given = steps_of(on.trainer.budget, self.spend, shares)
        if 0 in given:
            spec = self.of[given.index(0)]
            raise NotApplicable(f"{spec} gets none of the {sum(given)} steps that {len(given)} schemes share")
        extras = [self._extras(spec, on) for spec in self.plus]
        for spec, steps in zip(self.of, given, strict=True):
            scheme = on.scheme(spec)
            if isinstance(scheme, Prepares):
                raise NotApplicable(f"{spec} adds modules to the network, and can't be part of a chain")
            scheme.tune(replace(on, trainer=_Part(on.trainer, steps, extras)))

    def _extras(self, spec: Spec, on: Tuning) -> dict[str, Any]:
        """What a scheme hands to the trainer besides what it trains."""
        listener = _Listener(on.trainer)
        before = {name: tensor.clone() for name, tensor in on.model.state_dict().items()}
        on.scheme(spec).tune(replace(on, trainer=listener))
        now = on.model.state_dict()
        same = before.keys() == now.keys() and all(before[name].equal(now[name]) for name in now)
        if listener.calls and (not same or listener.writes != _writes(on.model)):
            raise NotApplicable(f"{spec} does something to the network before or after it is trained")
        how = listener.calls[0] if len(listener.calls) == 1 else {}
        if how.get("loss") or callable(how.get("optimizer")) or not (how.get("penalty") or how.get("after_step")):
            raise NotApplicable(f"{spec} is more, or less, than a penalty or an action after every step in one phase")
        return {name: how.get(name) for name in ("penalty", "after_step")}


def steps_of(budget: int, spend: float, shares: Sequence[float]) -> list[int]:
    """How many steps each gets: exact in the decimal numbers that were written, and no step of `spend` is lost."""
    exact = [Fraction(str(share)) for share in shares]
    total = math.floor(budget * Fraction(str(spend)))
    quotas = [total * share / sum(exact) for share in exact]
    steps = [math.floor(quota) for quota in quotas]
    largest = sorted(range(len(shares)), key=lambda i: steps[i] - quotas[i])
    for i in largest[: total - sum(steps)]:
        steps[i] += 1
    return steps


def _writes(model: nn.Module) -> list[tuple[int, int]]:
    """Which tensors a network has, and how often each has been written to."""
    return [(id(tensor), tensor._version) for tensor in model.state_dict(keep_vars=True).values()]


@dataclass
class _Part:
    """A trainer with part of the budget, which adds penalties and actions to every phase."""

    whole: Trainer
    budget: int
    extras: Sequence[Mapping[str, Any]] = ()
    spent: int = 0

    @property
    def batch_size(self) -> int:
        return self.whole.batch_size

    def fit(self, model: nn.Module, groups: Iterable[Mapping[str, Any]], **how: Any) -> None:
        steps = how.pop("steps", None)
        left = self.budget - self.spent
        steps = left if steps is None else steps
        if not (steps >= 0 and steps % 1 == 0):
            raise ValueError(f"steps must be a whole number from 0, not {steps!r}")
        if steps > left:
            raise BudgetError(f"asked for {steps} steps, but {left} of {self.budget} are left")
        self.whole.fit(model, (), steps=0, **how)  # refuses what it can't call, before it is wrapped
        self.spent += steps
        penalties = [p for p in (how.pop("penalty", None), *(e["penalty"] for e in self.extras)) if p]
        actions = [a for a in (how.pop("after_step", None), *(e["after_step"] for e in self.extras)) if a]
        if penalties:
            how["penalty"] = lambda model, batch: sum(penalty(model, batch) for penalty in penalties)
        if actions:
            how["after_step"] = lambda optimizer: [action(optimizer) for action in actions]
        self.whole.fit(model, groups, steps=steps, **how)

    @property
    def augments(self) -> bool:
        return self.whole.augments

    def features(self, model: Net, x: Tensor) -> Tensor:
        return self.whole.features(model, x)

    def outputs(self, model: nn.Module, x: Tensor) -> Tensor:
        return self.whole.outputs(model, x)


@dataclass
class _Listener(_Part):
    """A trainer that trains nothing and remembers what it was asked."""

    budget: int = 1
    calls: list[dict[str, Any]] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)

    def fit(self, model: nn.Module, groups: Iterable[Mapping[str, Any]], **how: Any) -> None:
        self.whole.fit(model, groups, **{**how, "steps": 0})  # refuses what it can't call
        self.calls.append(how)
        self.writes = _writes(model)
