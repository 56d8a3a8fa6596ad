"""The mean over classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MacroF1:
    """F1 = 2 TP / (2 TP + FP + FN) of each class, from 0 to 1, averaged over classes.

    Rare classes count as much as frequent ones. A class that is neither a target nor an answer is left out, as in
    scikit-learn. The answer is the largest logit; a tie goes to the lowest class.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    higher_is_better: ClassVar[bool] = True

    def score(self, outputs: Tensor, y: Tensor) -> float:
        """Logits (N, classes) against class numbers (N,)."""
        answers, classes = outputs.argmax(-1), outputs.shape[-1]

        def counted(which: Tensor) -> Tensor:
            return torch.bincount(which, minlength=classes).float()

        both = counted(y) + counted(answers)  # 2 TP + FP + FN
        f1 = torch.where(both > 0, 2 * counted(y[y == answers]) / both, torch.zeros_like(both))
        return float((f1 / (both > 0).sum()).sum())
