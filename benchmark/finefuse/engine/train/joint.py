"""What trains on several tasks at once: their training data one after the other, and no loss of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from finefuse.errors import NotApplicable
from finefuse.manyheads import one_after_another
from finefuse.types import Data, Modality, Splits


@dataclass(frozen=True)
class JointTask:
    """Stands for several tasks in a trainer, which must be given a loss."""

    modality: Modality
    input_shape: tuple[int, ...]
    kind: str = "several tasks"
    mixes: bool = False

    def loss(self, *_: Any) -> NoReturn:
        """Refuse: which task's?"""
        raise NotApplicable("several tasks have no loss in common; give trainer.fit the one that nets.joint makes")


def joint_data(parts: Sequence[Splits]) -> Data:
    """The training inputs of all, one after the other; as targets the number of the task, (N,), int64.

    Raises:
        NotApplicable: if inputs differ in their type of number.
    """
    numbers = [torch.full((len(part.train),), i, device=part.train.y.device) for i, part in enumerate(parts)]
    return Data(one_after_another([part.train.x for part in parts]), torch.cat(numbers))
