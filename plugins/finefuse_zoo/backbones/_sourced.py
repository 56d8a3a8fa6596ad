"""What backbones have in common that are pretrained on a data set of the suite's choice, or on none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from finefuse import Ref
from finefuse.types import Budget, Spec, Tuning


@dataclass(frozen=True)
class Sourced:
    """A network with random weights, or pretrained on the data set `pretrained_on`, all of it with AdamW."""

    pretrained_on: Spec | None = None
    pretrain_epochs: Annotated[int, Ge(1)] = 5
    pretrain_lr: Annotated[float, Gt(0)] = 1e-3

    @property
    def source(self) -> Ref | None:
        """The data set, if there is one."""
        return None if self.pretrained_on is None else Ref.read(self.pretrained_on)

    def fingerprint(self) -> str:
        """No weights are read."""
        return ""

    def budget(self) -> Budget:
        """Batches of 64."""
        return Budget(epochs=self.pretrain_epochs, batch_size=64)

    def tune(self, on: Tuning) -> None:
        """Pretrain all of it."""
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": self.pretrain_lr}])
