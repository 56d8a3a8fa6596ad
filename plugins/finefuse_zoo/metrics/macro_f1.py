"""The mean over classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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
        from torchmetrics.functional.classification import multiclass_f1_score

        return float(multiclass_f1_score(outputs, y, num_classes=outputs.shape[-1], average="macro"))
