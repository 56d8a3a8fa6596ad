"""The trainer as strategies get it: what it counts is out of their reach."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.errors import PluginError
from finefuse.nets import Net
from finefuse.types import Trainer


def lent(trainer: SuiteTrainer, *, labels: bool = True) -> Trainer:
    """What `finefuse.types.Trainer` promises and no more; no attribute of it can be set.

    Without `labels` it only evaluates networks.
    """

    class Lent:
        """Has no state: the trainer is known to these functions alone."""

        __slots__ = ()

        @property
        def budget(self) -> int:
            return trainer.budget

        @property
        def batch_size(self) -> int:
            return trainer.batch_size

        @property
        def augments(self) -> bool:
            return trainer.augments

        def fit(self, *args: Any, **options: Any) -> None:
            if not labels:
                raise PluginError("the fusion trains on labels, and says `uses_labels = False`")
            trainer.fit(*args, **options)

        def features(self, model: Net, x: Tensor) -> Tensor:
            return trainer.features(model, x)

        def outputs(self, model: nn.Module, x: Tensor) -> Tensor:
            return trainer.outputs(model, x)

    return Lent()
