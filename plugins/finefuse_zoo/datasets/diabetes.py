"""The progress of diabetes in 442 patients, a regression task that comes with scikit-learn, and its source task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from finefuse import Regression, Splits
from finefuse.types import Description
from finefuse_zoo.datasets._shipped import digest_of

CENTRE, SPREAD = 152.0, 77.0
"""About the mean and the standard deviation of the target over all patients; the same for every split."""
TASK = Regression(outputs=1, modality="tabular", input_shape=(10,))
UNITS = Description(outputs={"target": "progress", "centre": CENTRE, "spread": SPREAD})


@dataclass(frozen=True)
class Diabetes:
    """Progress of the disease after one year, from ten measurements, in the 207 patients whose sex is coded 2.

    The other 235 are for pretraining (`diabetes-source`): the same question about other people. `train` and `val`
    patients are for training and validation, all the rest for the test; for one seed val is the same whatever `train`
    is, and more patients are fewer plus more. Inputs (N, 10), float32, standardised over all 442 patients; targets
    (N, 1) are (progress - 152) / 77, so that an error of 1 is 77 points on a scale from 25 to 346, about one standard
    deviation. Source: Efron et al. 2004, doi 10.1214/009053604000000067.
    """

    train: Annotated[int, Ge(2), Le(100)] = 40
    val: Annotated[int, Ge(2), Le(50)] = 40
    task = TASK

    def fingerprint(self) -> str:
        """Digest of the parameters and of scikit-learn's own data files."""
        return f"diabetes-{_content()}-train{self.train}-val{self.val}"

    def describe(self, _seed: int) -> Description:
        """The units of the target."""
        return UNITS

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn at random."""
        return _splits(2, self.train, self.val, seed)


@dataclass(frozen=True)
class DiabetesSource:
    """Progress of the disease in the 235 patients whose sex is coded 1, on the scales of `diabetes`.

    165 are for training, 35 for validation, 35 for the test.
    """

    task = TASK

    def fingerprint(self) -> str:
        """Digest of scikit-learn's own data files."""
        return f"diabetes-source-{_content()}"

    def describe(self, _seed: int) -> Description:
        """The units of the target."""
        return UNITS

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn at random."""
        return _splits(1, 165, 35, seed)


def _content() -> str:
    return digest_of("diabetes", "diabetes_data_raw.csv.gz", "diabetes_target.csv.gz")


def _splits(sex: int, train: int, val: int, seed: int) -> Splits:
    import numpy as np
    import torch
    from sklearn.datasets import load_diabetes

    from finefuse import Data
    from finefuse_zoo.datasets._pixels import rows_by_class

    patients = load_diabetes()  # columns of mean 0 and sum of squares 1; the larger value of the second is sex 2
    chosen = (patients.data[:, 1] > 0) == (sex == 2)
    x = (patients.data[chosen] * len(chosen) ** 0.5).astype(np.float32)
    y = ((patients.target[chosen] - CENTRE) / SPREAD).astype(np.float32)[:, None]
    parts = rows_by_class(np.zeros(len(y), int), val, train, seed)
    v, t, rest = (Data(torch.from_numpy(x[rows]), torch.from_numpy(y[rows])) for rows in parts)
    return Splits(TASK, t, v, rest)
