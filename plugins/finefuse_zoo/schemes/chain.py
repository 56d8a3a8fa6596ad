"""Schemes one after the other, and regularisers on top of any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt, Le, Len

from finefuse import NotApplicable
from finefuse.types import Prepares, Spec, Trainer, Tuning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class Chain:
    """Run the schemes in `of` one after the other, each with its share of the budget.

    `shares` None gives all the same share. `spend` is the part of the budget that all of them together have. What the
    schemes in `plus` add to the loss as a penalty, or do after every step, is added to every phase, so that L2-SP can
    go with gradual unfreezing without a class for the pair; their rates and weight decay are not taken over. A scheme
    in `plus` has to train in one phase by the usual loss and steps. Checked: a chain of one scheme has that scheme's
    bits, a penalty on top of `full` those of the regulariser.
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
        extras = [self._extras(spec, on) for spec in self.plus]
        for spec, share in zip(self.of, shares, strict=True):
            scheme = on.scheme(spec)
            if isinstance(scheme, Prepares):
                raise NotApplicable(f"{spec} adds modules to the network, and can't be part of a chain")
            part = _Part(on.trainer, int(on.trainer.budget * self.spend * share / sum(shares)), extras)
            scheme.tune(replace(on, trainer=part))

    def _extras(self, spec: Spec, on: Tuning) -> dict[str, Any]:
        """What a scheme hands to the trainer besides what it trains."""
        listener = _Listener(on.trainer)
        on.scheme(spec).tune(replace(on, trainer=listener))
        how = listener.calls[0] if len(listener.calls) == 1 else {}
        if how.get("loss") or callable(how.get("optimizer")) or not (how.get("penalty") or how.get("after_step")):
            raise NotApplicable(f"{spec} is more, or less, than a penalty or an action after every step in one phase")
        return {name: how.get(name) for name in ("penalty", "after_step")}


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
        steps = self.budget - self.spent if steps is None else steps
        self.spent += steps
        self.whole.fit(model, (), steps=0, **how)  # refuses what it can't call, before it is wrapped
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

    def fit(self, model: nn.Module, groups: Iterable[Mapping[str, Any]], **how: Any) -> None:
        self.whole.fit(model, groups, **{**how, "steps": 0})  # refuses what it can't call
        self.calls.append(how)
