"""Other schemes with a head that stays as a probe left it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from finefuse import NotApplicable
from finefuse.types import Prepares, Spec, Trainer, Tuning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class FrozenHead:
    """The scheme `of`, for the body alone: the head is fitted by `probe` first, and stays.

    A suite writes it as an option of any scheme, `{ use = "full", head = "frozen" }`. Bodies are then tuned under
    fixed heads, as CLIP's under text embeddings (Ilharco et al. 2023, 2212.04089). Whether they merge better than
    those whose heads moved depends on BatchNorm's statistics and on the method (studies/tasks/policies.md). It is
    `skipped` for a scheme that trains nothing but the head, adds modules, or changes the head by itself. Checked: the
    head has the probe's bits, and the body moves.
    """

    of: Spec
    probe: Spec = "linear-probe"
    nested: ClassVar[tuple[str, ...]] = ("of", "probe")

    def tune(self, on: Tuning) -> None:
        """The probe, then the scheme."""
        scheme = on.scheme(self.of)
        if isinstance(scheme, Prepares):
            raise NotApplicable(f"{self.of} adds modules to the network, and can't leave its head alone")
        on.scheme(self.probe).tune(on)
        before = [p.detach().clone() for p in on.model.head.parameters()]
        scheme.tune(replace(on, trainer=_BodyTrainer(on.trainer, on.model)))
        if not all(p.equal(was) for p, was in zip(on.model.head.parameters(), before, strict=True)):
            raise NotApplicable(f"{self.of} changes the head by itself")


@dataclass
class _BodyTrainer:
    """A trainer that leaves the head out."""

    whole: Trainer
    net: Net

    @property
    def budget(self) -> int:
        return self.whole.budget

    @property
    def batch_size(self) -> int:
        return self.whole.batch_size

    @property
    def augments(self) -> bool:
        return self.whole.augments

    def fit(self, model: nn.Module, groups: Iterable[Mapping[str, Any]], **how: Any) -> None:
        given = [{**group, "params": list(group["params"])} for group in groups]
        head = {id(p) for p in self.net.head.parameters()}
        kept = [{**group, "params": [p for p in group["params"] if id(p) not in head]} for group in given]
        if any(group["params"] for group in given) and not any(group["params"] for group in kept):
            raise NotApplicable("it trains nothing but the head, which is frozen")
        self.whole.fit(model, kept, **how)

    def features(self, model: Net, x: Tensor) -> Tensor:
        return self.whole.features(model, x)

    def outputs(self, model: nn.Module, x: Tensor) -> Tensor:
        return self.whole.outputs(model, x)
