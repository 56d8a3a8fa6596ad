"""Handwritten digits at 8x8, the data set that comes with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from finefuse import Classification, Splits
from finefuse.types import Description
from finefuse_zoo.datasets._shipped import digest_of


@dataclass(frozen=True)
class Digits:
    """1,797 handwritten digits from the UCI repository, with few labels for training.

    `shots` examples of every class are for training, `val` of every class for validation, all the rest for the test.
    Inputs (N, 1, 8, 8), float32, about zero mean and unit variance. For one seed the validation examples are the same
    whatever `shots` is, and more shots are fewer shots plus more. Source: https://doi.org/10.24432/C50P49.
    """

    shots: Annotated[int, Ge(1), Le(100)] = 10
    val: Annotated[int, Ge(1), Le(50)] = 20
    task = Classification(outputs=10, modality="image", input_shape=(1, 8, 8))

    def fingerprint(self) -> str:
        """Digest of the parameters and of scikit-learn's own data file."""
        return f"digits-{digest_of('digits', 'digits.csv.gz')}-shots{self.shots}-val{self.val}"

    def describe(self, _seed: int) -> Description:
        """Names of the classes."""
        return Description(outputs={"classes": [str(number) for number in range(self.task.outputs)]})

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        from sklearn.datasets import load_digits

        from finefuse_zoo.datasets._pixels import as_splits, rows_by_class

        digits = load_digits()
        val, train, test = rows_by_class(digits.target, self.val, self.shots, seed)
        return as_splits(self.task, digits.images, digits.target, train, val, test)
