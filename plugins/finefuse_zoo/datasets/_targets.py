"""What a column of a table is predicted as: labels, or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from finefuse import Classification, FinefuseError, Regression

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finefuse_zoo.datasets._table import Table


@dataclass(frozen=True)
class Labels:
    """Class numbers, which follow the labels of the `known` table sorted as text."""

    known: Table
    column: str
    centre: float | None
    spread: float | None
    task: ClassVar[type[Classification]] = Classification
    continuous: ClassVar[bool] = False
    found: ClassVar[str] = "class {name!r} has {count} rows"

    @property
    def names(self) -> Sequence[str]:
        """The classes; rows are drawn from each."""
        return self.known.classes(self.column)

    def read(self, table: Table) -> NDArray[Any]:
        """(N,), int64."""
        import numpy as np

        return np.array(table.class_numbers(self.column, self.names), np.int64)

    def strata(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Which class each row is of."""
        return y

    def described(self) -> Mapping[str, Any]:
        """The classes, in the order of the outputs."""
        return {"classes": list(self.names)}


@dataclass(frozen=True)
class Numbers:
    """Numbers in units of `spread` from `centre`; without these by mean and deviation of the `known` table."""

    known: Table
    column: str
    centre: float | None
    spread: float | None
    task: ClassVar[type[Regression]] = Regression
    continuous: ClassVar[bool] = True
    found: ClassVar[str] = "the table has {count} rows"
    names: ClassVar[Sequence[str]] = ("",)

    def read(self, table: Table) -> NDArray[Any]:
        """(N, 1), float32."""
        import numpy as np

        centre, spread = self.units()
        return ((np.array(table.numbers(self.column)) - centre) / spread).astype(np.float32)[:, None]

    def units(self) -> tuple[float, float]:
        """Centre and spread.

        Raises:
            FinefuseError: if all values are the same.
        """
        import numpy as np

        values = np.array(self.known.numbers(self.column))
        centre = float(values.mean()) if self.centre is None else self.centre
        spread = float(values.std()) if self.spread is None else self.spread
        if self.spread is None and spread <= 1e-12 * abs(centre):
            raise FinefuseError(f"{self.known.path}: all values of {self.column!r} are the same")
        return centre, spread

    def strata(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """All rows are of one class."""
        import numpy as np

        return np.zeros(len(y), np.int64)

    def described(self) -> Mapping[str, Any]:
        """The units: a value is output * spread + centre."""
        return dict(zip(("centre", "spread"), self.units(), strict=True))


READERS: dict[str, type[Labels] | type[Numbers]] = {"classification": Labels, "regression": Numbers}
"""By what a suite calls them."""
Targets = Labels | Numbers
